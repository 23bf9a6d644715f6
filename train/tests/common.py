"""What the tests share: tiny models and data."""
from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import Any

import torch

from bimamba_train import settings, shards
from bimamba_train.model import Config

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIMAMBA = os.environ.get("BIMAMBA", os.path.join(ROOT, "bin", "bimamba"))
torch.set_num_threads(1)

TINY: dict[str, Any] = dict(d_model=32, n_layer=2, vocab_size=50, d_state=16, headdim=16, chunk=8)


def tiny(**kw: Any) -> Config:
    return Config(**{**TINY, **kw})


def data(path: str, rows: int = 60, seed: int = 1) -> str:
    r = random.Random(seed)
    shards.write_shard(path, [([r.randrange(2, 50) for _ in range(r.randrange(6, 20))], 4) for _ in range(rows)])
    return path


def run_settings(shard: str, **train: Any) -> settings.Settings:
    return settings.build({
        "model": {**TINY, "dropout": 0.1},
        "data": {"mode": "packed", "length": 24, "batch": 2, "batches": 2, "sources": [{"shards": shard, "drop": 0.1}]},
        "train": {"steps": 8, "lr": 0.01, "warmup": 2, "log_every": 1, "snapshot_every": 3, **train},
    })


def bimamba(*args: str, stdin: str = "") -> str:
    """The Go program's output."""
    p = subprocess.run([BIMAMBA, *args], input=stdin, capture_output=True, text=True, check=False)
    if p.returncode != 0:
        raise AssertionError(f"bimamba {' '.join(args)}: {p.stderr}")
    return p.stdout


def environment(**extra: str) -> dict[str, str]:
    path = os.path.join(ROOT, "train")
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **extra}


def python(*args: str) -> list[str]:
    return [sys.executable, *args]
