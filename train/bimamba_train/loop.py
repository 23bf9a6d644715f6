"""The run: batches, steps, snapshots, and the finished model."""
from __future__ import annotations

import dataclasses
import gc
import os
import time
import traceback
from typing import Any, Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from . import checkpoint, loss, optim, teacher
from .log import Energy, Log
from .model import Model
from .parallel import World
from .settings import Settings
from .shards import Batch, Packed, Windows
from .step import Gradients

SETTLE = 5  # steps before the clock starts: compiling, and the first batches


class Batches(Dataset):
    """Batch number k, for the processes that load them. Which step a batch belongs to decides the sources' shares."""

    def __init__(self, s: Settings) -> None:
        d = s.data
        if d.mode == "windows":
            self.maker: Windows | Packed = Windows(d.sources[0], d.batch, d.length, s.train.seed)
        else:
            self.maker = Packed(list(d.sources), d.batch, d.length, s.train.seed, d.prompt_weight, d.padding)
        self.steps, self.batches = s.train.steps, s.data.batches

    def __getitem__(self, k: int) -> Batch:
        return self.maker.make(k, min(1.0, k / self.batches / self.steps))


class _Order:
    """The numbers of this process's batches, from a step on."""

    def __init__(self, first: int, s: Settings, world: World) -> None:
        self.numbers = (n * s.data.batches + m for n in range(first, s.train.steps) for m in range(world.rank, s.data.batches, world.size))

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)


class Run:
    def __init__(self, s: Settings, out: str, world: World, quiet: bool = False) -> None:
        self.s, self.out, self.world, self.quiet = s, out, world, quiet
        if s.data.batches % world.size:
            raise ValueError(f"data.batches {s.data.batches} is no multiple of the {world.size} processes")
        t = s.train
        torch.manual_seed(t.seed)
        cuda = world.device.type == "cuda"
        if cuda:
            torch.set_float32_matmul_precision("high")
        model = Model(s.model)
        if t.start:
            weights = checkpoint.read_weights(t.start)
            if s.model.tie_embeddings:
                weights.pop("lm_head.weight", None)
            if any(k.endswith(".wscale") for k in weights):
                model.load_state_dict(weights)
            else:
                model.load_full_precision(weights)
        model.to(world.device)
        self.compiled = t.compile and cuda and hasattr(torch, "compile")
        if self.compiled:
            model.compile(sharded=world.mode == "fsdp")
        self.model = world.spread(model)
        self.optimizer = optim.adamw(self.model, t.lr, t.weight_decay, (0.9, t.beta2))
        self.teacher = teacher.load(list(t.teachers), s.model.rows, s.model.vocab_size, world.device, s.model.chunk) if t.teachers else None
        if self.teacher and self.compiled:
            self.teacher.compile()
        # A teacher that is not ours may do what no graph can hold.
        record = self.compiled and t.graph and world.mode == "single" and (self.teacher is None or self.teacher.packed)
        self.gradients = Gradients(self.model, self.teacher, torch.compile(loss.total) if self.compiled else loss.total, t.mix, cuda and t.bf16, record,
                                   world.size)  # gradients are averaged over processes; their sum is meant
        self.snapshots = checkpoint.Snapshots(os.path.join(out, "snapshots"))
        self.step, self.tokens, self.text, self.elapsed, self.joules = 0, 0, 0, 0.0, 0.0
        saved = self.snapshots.load()
        if saved is not None:
            world.load(self.model, self.optimizer, saved["model"], saved["optimizer"])
            self.step, self.tokens, self.text, self.elapsed, self.joules = (saved[k] for k in ("step", "tokens", "text", "elapsed", "joules"))
        self.log = Log(out, t.steps, self.step, t.tensorboard, quiet) if world.first else None

    def _backward(self, batches: list[Batch]) -> torch.Tensor:
        """Gradients of one step. Returns the loss, a mean over the whole step's weights."""
        s, world = self.s, self.world
        weight = world.sum(torch.stack([b.weights.sum() for b in batches]).sum())
        total = torch.zeros((), device=world.device)
        for i, b in enumerate(batches):
            # Dropout of each batch has a seed of its own, so that a run that goes on repeats nothing and skips nothing.
            torch.manual_seed((s.train.seed << 40) + self.step * s.data.batches + world.rank + i * world.size)
            with world.accumulate(self.model, i == len(batches) - 1):
                total += self.gradients(b.ids, b.seg, b.weights, weight)
        return world.sum(total)

    def train(self, stop_after: int | None = None) -> dict[str, Any]:
        """Runs to the end, or until stop_after steps have been made, as if killed behind it. Returns a report."""
        s, t, world = self.s, self.s.train, self.world
        cuda = world.device.type == "cuda"
        loader = DataLoader(Batches(s), batch_size=None, sampler=_Order(self.step, s, world), num_workers=s.data.workers, pin_memory=cuda,
                            **({"prefetch_factor": 8} if s.data.workers else {}))
        feed = iter(loader)
        mine = s.data.batches // world.size
        self.model.train()
        energy = Energy(world.device.index or 0) if cuda and world.first else None
        begun, settled, sums, count, shown = time.monotonic(), None, torch.zeros(2, device=world.device), 0, self.tokens
        first, last_time, before = self.step, time.monotonic(), self.elapsed
        peak_loss = 0.0
        while self.step < t.steps:
            progress = self.step / t.steps
            if self.step - first == SETTLE:
                if cuda:
                    torch.cuda.synchronize()
                settled = time.monotonic()
                settled_tokens, settled_text = self.tokens, self.text
            if settled is not None:
                self.elapsed = before + time.monotonic() - settled
                if t.seconds and world.mode == "single":
                    progress = max(progress, self.elapsed / t.seconds)
                    if progress >= 1:
                        break
            rate = optim.rate(self.step, progress, t.lr, t.warmup, t.lr_floor)
            for g in self.optimizer.param_groups:
                g["lr"] = rate
            batches = [next(feed).to(world.device) for _ in range(mine)]
            value = self._backward(batches)
            norm = world.clip(self.model, t.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=not self.gradients.record)
            self.step += 1
            self.tokens += sum(b.weights.numel() for b in batches) * world.size
            self.text += sum(b.text for b in batches)
            sums += torch.stack([value, norm.detach().to(value.dtype)])
            count += 1
            if self.step % t.log_every == 0 or self.step == t.steps:
                peak_loss, grad = (sums / count).tolist()
                now = time.monotonic()
                if self.log is not None:
                    speed = (self.tokens - shown) / max(1e-9, now - last_time)
                    self.log.line(step=self.step, tokens=self.tokens, seconds=self.elapsed, loss=peak_loss, lr=rate, grad_norm=grad, tokens_per_s=speed, watts=energy.watts if energy else 0.0)
                    self.log.progress(max(progress, self.step / t.steps), f"step {self.step} loss {peak_loss:.4f} {speed:,.0f} tokens/s")
                if peak_loss != peak_loss:
                    raise RuntimeError(f"step {self.step}: the loss is not a number; lower train.lr or raise train.warmup")
                sums.zero_()
                count, shown, last_time = 0, self.tokens, now
            if stop_after is not None and self.step - first >= stop_after:
                break
            if self.step % t.snapshot_every == 0 and self.step < t.steps:
                self.snapshot()
        if cuda:
            torch.cuda.synchronize()
        end = time.monotonic()
        used = energy.report() if energy else None
        if used:
            self.joules += used["joules"]
        if self.log is not None:
            self.log.close()
        report = {"steps": self.step, "tokens": self.tokens, "loss": peak_loss, "seconds": end - begun, "energy": used, "joules_of_all_tries": self.joules}
        if settled is not None and end > settled:
            report["tokens_per_s"] = (self.tokens - settled_tokens) / (end - settled)
            report["text_share"] = (self.text - settled_text) * world.size / (self.tokens - settled_tokens)  # in this process
        if cuda:
            report["device"], report["peak_memory_bytes"] = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated()
        return report

    def snapshot(self) -> None:
        weights, state = self.world.states(self.model, self.optimizer)
        if self.world.first:
            self.snapshots.save(self.step, {"model": weights, "optimizer": state, "step": self.step, "tokens": self.tokens, "text": self.text, "elapsed": self.elapsed, "joules": self.joules})

    def finish(self, report: dict[str, Any]) -> None:
        """Writes the model in the authors' layout, float16, and the report."""
        weights = self.world.weights(self.model)
        if self.world.first:
            checkpoint.save_model(os.path.join(self.out, "model"), self.s.model, weights, self.s.train.tokenizer or None)
            checkpoint.write_json(os.path.join(self.out, "report.json"), {**report, "settings": dataclasses.asdict(self.s)})


def run(s: Settings, out: str, quiet: bool = False) -> dict[str, Any]:
    world = World(s.train.parallel)
    try:
        return _run(s, out, world, quiet)
    except BaseException as e:
        traceback.clear_frames(e.__traceback__)  # they hold the model
        raise
    finally:
        # The model goes before its process group: DDP's Reducer, if it is the last to hold the group, waits for gloo's threads with the
        # interpreter locked, and one of them may need it to free a tensor (seen in PyTorch 1.13; now and then a process never ended).
        gc.collect()
        world.close()


def _run(s: Settings, out: str, world: World, quiet: bool) -> dict[str, Any]:
    r = Run(s, out, world, quiet)
    report = r.train()
    r.finish(report)
    return report
