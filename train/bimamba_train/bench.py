"""Speed and memory of training steps on random tokens, for plans: no data is needed."""
from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

import torch

from . import loss, optim
from .model import Config, Model
from .step import Gradients
from .teacher import Teacher

SETTLE = 5  # steps that are not counted


def measure(c: Config, batch: int, length: int, texts: int, teacher: Config | None, steps: int, compiled: bool, graph: bool) -> dict[str, Any]:
    """The median step. texts > 0: rows are packed with so many texts each. teacher: a model of that shape gives soft labels. graph: as train.graph."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.type == "cuda"
    torch.manual_seed(1)
    if cuda:
        torch.set_float32_matmul_precision("high")
        torch.cuda.reset_peak_memory_stats()
    compiled = compiled and hasattr(torch, "compile")
    model = Model(c).to(device)
    master = Teacher([Model(teacher).to(device)], c.rows, packed=True) if teacher else None
    total = loss.total
    if compiled:
        torch._dynamo.reset()
        model.compile(sharded=False)
        if master:
            master.compile()
        total = torch.compile(loss.total)
    gradients = Gradients(model, master, total, 1.0 if master else 0.0, cuda, cuda and compiled and graph)
    optimizer = optim.adamw(model, 1e-4, 0.1)
    model.train()
    weights = torch.ones(batch, length, device=device)
    seg = (torch.arange(length + 1, device=device) * texts // (length + 1)).repeat(batch, 1) if texts else None
    times = []
    for i in range(steps + SETTLE):
        ids = torch.randint(c.vocab_size, (batch, length + 1), device=device)
        if cuda:
            torch.cuda.synchronize()
        begun = time.perf_counter()
        gradients(ids, seg, weights, weights.sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=not gradients.record)
        if cuda:
            torch.cuda.synchronize()
        if i >= SETTLE:
            times.append(time.perf_counter() - begun)
    median = statistics.median(times)
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "batch": batch, "length": length, "steps": steps, "step_seconds": median,
        "step_seconds_range": [min(times), max(times)], "tokens_per_s": batch * length / median,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else None, "device": torch.cuda.get_device_name() if cuda else "cpu", "config": dataclasses.asdict(c),
    }
