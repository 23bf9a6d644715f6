"""Runs: killed and resumed, spread over processes, with teachers, and read by the Go program."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
import unittest
import weakref
import xml.dom.minidom
from typing import Any
from unittest import mock

import torch

from bimamba_train import checkpoint, log, loop, model, settings, shards, teacher
from bimamba_train.parallel import World

from . import common

TOML = """
[model]
d_model = 32
n_layer = 2
vocab_size = 50
d_state = 16
headdim = 16
chunk = 8
dropout = {dropout}
[data]
mode = "packed"
length = 24
batch = 2
batches = 2
[[data.sources]]
shards = "{shard}"
[train]
steps = {steps}
lr = 0.01
warmup = 2
log_every = 1
snapshot_every = 2
"""


class Runs(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.dir = self._dir.name
        self.shard = common.data(self.path("x.tok"))
        self.addCleanup(self._dir.cleanup)

    def path(self, name: str) -> str:
        return os.path.join(self.dir, name)

    def config(self, name: str, steps: int = 8, dropout: float = 0.1) -> str:
        with open(self.path(name), "w") as f:
            f.write(TOML.format(shard=self.shard, steps=steps, dropout=dropout))
        return self.path(name)

    def losses(self, out: str) -> list[str]:
        return [r["loss"] for r in log.read(os.path.join(out, "log.csv"))]

    def start(self, config: str, out: str, **env: str) -> subprocess.Popen[bytes]:
        """The program, which does not outlive the test."""
        p = subprocess.Popen(common.python("-m", "bimamba_train", "train", config, "--out", self.path(out), "--quiet"), env=common.environment(**env))
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p

    def test_killed_and_resumed(self) -> None:
        """SIGKILL at any moment; the run that goes on has the losses and weights of one that was never killed."""
        config = self.config("c.toml", steps=40)
        s = settings.read(config)
        loop.run(s, self.path("whole"), quiet=True)
        p = self.start(config, "killed")
        deadline = time.monotonic() + 60
        while not os.path.exists(self.path("killed/snapshots/step-000000006.pt")):
            self.assertLess(time.monotonic(), deadline)
            self.assertIsNone(p.poll(), "it ended before it could be killed")
            time.sleep(0.005)
        p.send_signal(signal.SIGKILL)
        p.wait()
        self.assertFalse(os.path.exists(self.path("killed/model")))
        loop.run(s, self.path("killed"), quiet=True)
        self.assertEqual(self.losses(self.path("killed")), self.losses(self.path("whole")))
        a, b = (checkpoint.read_weights(self.path(f"{x}/model")) for x in ("whole", "killed"))
        self.assertTrue(all(torch.equal(a[k], b[k]) for k in a))

    def test_two_processes_are_one(self) -> None:
        config = self.config("c.toml", dropout=0.0)
        loop.run(settings.read(config), self.path("one"), quiet=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        # What torchrun sets.
        both = [self.start(config, "two", RANK=str(i), LOCAL_RANK=str(i), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port) for i in range(2)]
        self.assertEqual([p.wait(timeout=90) for p in both], [0, 0])
        for a, b in zip(self.losses(self.path("one")), self.losses(self.path("two"))):
            self.assertAlmostEqual(float(a), float(b), places=4)
        a, b = (checkpoint.read_weights(self.path(f"{x}/model")) for x in ("one", "two"))
        for k in a:
            self.assertLess((a[k] - b[k]).abs().max().item(), 2e-3, k)

    def test_model_goes_before_its_group(self) -> None:
        """Also when the run fails: see loop.run."""
        for fails in False, True:
            models: list[Any] = []
            left: list[Any] = []

            class Watched(loop.Run):
                def __init__(self, *a: Any) -> None:
                    super().__init__(*a)
                    models.append(weakref.ref(self.model))

                def finish(self, report: dict[str, Any]) -> None:
                    if fails:
                        raise ValueError("full")

            with mock.patch.object(loop, "Run", Watched), mock.patch.object(World, "close", lambda w: left.extend(m() for m in models)):
                with self.assertRaisesRegex(ValueError, "full") if fails else contextlib.nullcontext():
                    loop.run(common.run_settings(self.shard, steps=1), self.path(f"watched-{fails}"), quiet=True)
            self.assertEqual(left, [None])

    def test_loss_falls_with_a_teacher(self) -> None:
        loop.run(common.run_settings(self.shard, steps=12), self.path("t"), quiet=True)
        s = common.run_settings(self.shard, steps=30, teachers=[self.path("t/model")], start=self.path("t/model"), mix=0.5)
        report = loop.run(s, self.path("s"), quiet=True)
        self.assertLess(report["loss"], float(self.losses(self.path("s"))[0]))
        xml.dom.minidom.parse(self.path("s/log.svg"))

    def test_full_precision_start(self) -> None:
        s = common.run_settings(self.shard, steps=1)
        full = model.Model(common.tiny(binarize=()))
        checkpoint.save_model(self.path("full"), full.c, full.state_dict())
        r = loop.Run(settings.build({"model": dict(common.TINY), "data": {"mode": "packed", "length": 24, "batch": 2, "sources": [{"shards": self.shard}]},
                                     "train": {"steps": 1, "start": self.path("full")}}), self.path("o"), World(), quiet=True)
        r.log.close()
        name = "backbone.layers.1.mixer.out_proj"
        want = checkpoint.read_weights(self.path("full"))[f"{name}.weight"].mean(0, keepdim=True)
        self.assertTrue(torch.allclose(r.model.state_dict()[f"{name}.wbias"], want))
        with self.assertRaisesRegex(ValueError, "does not fit"):
            model.Model(common.tiny(n_layer=3)).load_full_precision(full.state_dict())
        self.assertEqual(s.model.d_model, 32)

    def test_hugging_face_teacher(self) -> None:
        """A stand-in for transformers: its logits become labels, padded to the student's rows; packed texts and other vocabularies are refused."""
        class Stand(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.config = types.SimpleNamespace(vocab_size=50)
                self.p = torch.nn.Parameter(torch.zeros(1))

            def forward(self, ids: torch.Tensor) -> types.SimpleNamespace:
                return types.SimpleNamespace(logits=torch.nn.functional.one_hot(ids, 50).float() * 9 + self.p)

        fake = types.ModuleType("transformers")
        fake.AutoModelForCausalLM = types.SimpleNamespace(from_pretrained=lambda name, **kw: Stand())  # type: ignore[attr-defined]
        cpu = torch.device("cpu")
        with mock.patch.dict(sys.modules, {"transformers": fake}):
            t = teacher.load(["hf:somebody/else"], 64, 50, cpu, 8)
            labels = t.labels(torch.tensor([[3, 4]]), None)
            self.assertEqual(labels.shape, (1, 2, 64))
            self.assertEqual(labels.argmax(-1).tolist(), [[3, 4]])
            self.assertAlmostEqual(labels.sum().item(), 2, places=5)
            with self.assertRaisesRegex(ValueError, "packed"):
                t.labels(torch.tensor([[3, 4]]), torch.zeros(1, 2))
            with self.assertRaisesRegex(ValueError, "same vocabulary"):
                teacher.load(["hf:somebody/else"], 64, 60, cpu, 8)
            s = settings.build({"model": dict(common.TINY), "data": {"mode": "windows", "length": 16, "batch": 2, "sources": [{"shards": self.shard}]},
                                "train": {"steps": 2, "teachers": ["hf:somebody/else"]}})
            self.assertGreater(loop.run(s, self.path("hf"), quiet=True)["loss"], 0)
        with mock.patch.dict(sys.modules, {"transformers": None}), self.assertRaisesRegex(RuntimeError, "transformers"):
            teacher.load(["hf:x"], 64, 50, cpu, 8)

    def test_tensorboard(self) -> None:
        seen: list[tuple[str, int]] = []
        writer = types.SimpleNamespace(add_scalar=lambda tag, value, step: seen.append((tag, step)), close=lambda: seen.append(("closed", 0)))
        fake = types.ModuleType("torch.utils.tensorboard")
        fake.SummaryWriter = lambda folder: writer  # type: ignore[attr-defined]
        with mock.patch.dict(sys.modules, {"torch.utils.tensorboard": fake}):
            loop.run(common.run_settings(self.shard, steps=2, tensorboard=True), self.path("o"), quiet=True)
        self.assertIn(("loss", 2), seen)
        self.assertEqual(seen[-1], ("closed", 0))

    def test_go_reads_it(self) -> None:
        """checkpoint -> bimamba convert -> the logits that the model has here."""
        ids = torch.randint(50, (1, 40), generator=torch.Generator().manual_seed(9))
        with open(self.path("ids.jsonl"), "w") as f:
            f.write(json.dumps({"ids": ids[0].tolist()}) + "\n")
        for pattern, binarize, groups in (("column", model.PROJECTIONS, 1), ("row", model.PROJECTIONS, 1), ("single", model.PROJECTIONS, 2), ("column", (), 1)):
            with self.subTest(pattern=pattern, binarize=binarize):
                torch.manual_seed(10)
                m = model.Model(common.tiny(pattern=pattern, binarize=binarize, ngroups=groups))
                with torch.no_grad():
                    for p in m.parameters():  # nothing stays at its tidy start
                        p.add_(0.02 * torch.randn_like(p))
                folder, blob = self.path(f"{pattern}{len(binarize)}"), self.path(f"{pattern}{len(binarize)}.bimamba")
                checkpoint.save_model(folder, m.c, m.state_dict())
                again = checkpoint.load_model(folder, chunk=8).eval()
                common.bimamba("convert", folder, "--head", "keep", "-o", blob)
                common.bimamba("score", blob, "--ids", self.path("ids.jsonl"), "--precision", "exact", "--state", "f32", "--logits", f"{blob}.safetensors")
                have = checkpoint.read_safetensors(f"{blob}.safetensors")["logits.0"]
                want = again(ids)[0].detach()
                self.assertLess(((have - want).norm() / want.norm()).item(), 2e-3)


class Shards(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.addCleanup(self._dir.cleanup)
        self.dir = self._dir.name

    def test_go_writes_them(self) -> None:
        rows = [{"prompt": "<|home|>light<|reply|>", "completion": "on<|endoftext|>"}, {"text": "on"}]
        out = common.bimamba("tokenize", "default", "--shards", os.path.join(self.dir, "x"), stdin="".join(json.dumps(r) + "\n" for r in rows))
        self.assertEqual(json.loads(out)["rows"], 2)
        s = shards.Shard(os.path.join(self.dir, "x-00000.tok"))
        ids = [json.loads(common.bimamba("tokenize", "default", "--json", stdin=t))["ids"] for t in ("<|home|>light<|reply|>", "on<|endoftext|>", "on")]
        self.assertEqual(s.tokens.tolist(), ids[0] + ids[1] + ids[2])
        self.assertEqual((s.lengths.tolist(), s.prompts.tolist()), ([len(ids[0] + ids[1]), len(ids[2])], [len(ids[0]), 0]))

    def test_damage_is_named(self) -> None:
        path = common.data(os.path.join(self.dir, "x.tok"))
        with open(path, "rb") as f:
            whole = f.read()
        for bad, why in ((whole[:-1], "cut or damaged"), (b"x" * 40, "not a token shard"), (whole[:8] + b"\2" + whole[9:], "version 2"), (b"", "not a token shard")):
            with open(path, "wb") as f:
                f.write(bad)
            with self.assertRaisesRegex(ValueError, why):
                shards.Shard(path)

    def test_packing(self) -> None:
        path = os.path.join(self.dir, "x.tok")
        shards.write_shard(path, [([10 + i] * (5 + i), 3) for i in range(8)])
        p = shards.Packed([shards.Source(path)], 4, 32, 1, 0.25, 1)
        b = p.make(3, 0.0)
        again = p.make(3, 0.5)
        self.assertTrue(torch.equal(b.ids, again.ids))
        self.assertFalse(torch.equal(b.ids, p.make(4, 0.0).ids))
        self.assertGreater((b.ids != 1).float().mean().item(), 0.8)
        self.assertEqual(b.text, (b.ids[:, :-1] != 1).sum().item())
        assert b.seg is not None
        for r in range(4):
            for k in b.seg[r].unique().tolist():
                at = (b.seg[r] == k).nonzero().flatten()
                tokens = b.ids[r, at]
                self.assertEqual(len(set(tokens.tolist())), 1)  # no text runs into another
                weights = torch.cat([torch.zeros(1), b.weights[r]])[at]
                if tokens[0] == 1:
                    self.assertEqual(weights.sum().item(), 0)
                else:
                    self.assertEqual(len(tokens), tokens[0].item() - 5)
                    self.assertEqual(weights.tolist(), [0.0, 0.25, 0.25] + [1.0] * (len(tokens) - 3))

    def test_shares_move(self) -> None:
        a, b = (os.path.join(self.dir, n) for n in ("a.tok", "b.tok"))
        shards.write_shard(a, [([11] * 8, 2)])
        shards.write_shard(b, [([12] * 8, 2)])
        p = shards.Packed([shards.Source(a, 1.0, 0.0), shards.Source(b, 0.0, 1.0)], 4, 31, 1, 1, 1)
        self.assertEqual([set(p.make(0, at).ids.flatten().tolist()) for at in (0.0, 1.0)], [{11}, {12}])

    def test_windows_are_seen_once(self) -> None:
        path = os.path.join(self.dir, "x.tok")
        shards.write_shard(path, [(list(range(2, 1203)), 0)], width=4)
        w = shards.Windows(shards.Source(path), 5, 10, 1)
        first = [w.make(k, 0).ids[:, 0].tolist() for k in range(24)]
        self.assertEqual(sorted(x for b in first for x in b), list(range(2, 1202, 10)))
        self.assertNotEqual(sorted(first[0]), first[0])
        self.assertNotEqual(w.make(24, 0).ids[:, 0].tolist(), first[0])  # the next epoch has another order


class Files(unittest.TestCase):
    def test_rounding_keeps_signs(self) -> None:
        w = torch.tensor([[1e-9, -1e-9, 0.0, 2.0]])
        self.assertEqual(torch.sign(checkpoint.to_half("x.in_proj.weight", w)).tolist(), [[1, -1, 1, 1]])
        self.assertEqual(checkpoint.to_half("x.D", w)[0, 0].item(), 0)
        self.assertRaisesRegex(ValueError, "too large", checkpoint.to_half, "x.D", torch.tensor([1e9]))

    def test_safetensors(self) -> None:
        with tempfile.TemporaryDirectory() as d:
            header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, "__metadata__": {}}).encode()
            path = os.path.join(d, "x.safetensors")
            with open(path, "wb") as f:
                f.write(len(header).to_bytes(8, "little") + header + bytes([0x80, 0x3F, 0x00, 0xC0]))
            self.assertEqual(checkpoint.read_safetensors(path)["a"].tolist(), [1.0, -2.0])
            with open(path, "ab") as f:
                f.truncate(os.path.getsize(path) - 2)
            with self.assertRaisesRegex(ValueError, "outside"):
                checkpoint.read_safetensors(path)

    def test_settings(self) -> None:
        base = {"model": {"size": "assistant"}, "data": {"mode": "packed", "length": 8, "batch": 1, "sources": [{"shards": "x"}]}, "train": {"steps": 1}}
        self.assertEqual(settings.build(base).model.binarize, model.PROJECTIONS)
        for key, why in (("model.depth=3", "model.depth is not known"), ("train.step=3", "train.step is not known"), ("model.size=4b", "it is one of"), ("data.mode=rows", "data.mode")):
            raw = json.loads(json.dumps(base))
            settings.change(raw, key)
            with self.assertRaisesRegex(ValueError, why):
                settings.build(raw)
        settings.change(base, 'model.binarize=["*.in_proj"]')
        self.assertEqual(settings.build(base).model.binarize, ("*.in_proj",))
        folder = os.path.join(common.ROOT, "train", "configs")
        for name in os.listdir(folder):
            settings.read(os.path.join(folder, name))

    def test_energy_without_a_card(self) -> None:
        self.assertIsNone(log.Energy(library="no-such-library.so").report())


if __name__ == "__main__":
    unittest.main()
