"""python3 -m bimamba_train COMMAND: see README.md beside the package."""
from __future__ import annotations

import argparse
import json
import os
import sys

import torch

from .model import SIZES, Config


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bimamba_train", description="Binarization-aware training of Mamba-2.")
    sub = p.add_subparsers(dest="command", required=True)
    t = sub.add_parser("train", help="train a model as a configuration says; goes on from the last snapshot in OUT")
    t.add_argument("config", help="TOML; configs/ has some")
    t.add_argument("--out", required=True, help="folder of the log, the snapshots and the finished model")
    t.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value, for instance train.seed=2")
    t.add_argument("--quiet", action="store_true", help="no progress bar")
    b = sub.add_parser("binarize", help="binarize a full-precision checkpoint without training")
    b.add_argument("checkpoint")
    b.add_argument("out")
    b.add_argument("--method", choices=("rounding", "gptq"), default="rounding")
    b.add_argument("--config", help="the configuration whose data calibrate gptq")
    b.add_argument("--batches", type=int, default=8, help="how many batches calibrate gptq")
    b.add_argument("--tokenizer", help="tokenizer.json to put beside it")
    g = sub.add_parser("plot", help="plot the loss of runs")
    g.add_argument("out", help="the SVG to write")
    g.add_argument("logs", nargs="+", metavar="NAME=LOG.csv")
    m = sub.add_parser("bench", help="speed and memory of training steps, on random tokens")
    m.add_argument("size", choices=sorted(SIZES))
    m.add_argument("--batch", type=int, default=4)
    m.add_argument("--length", type=int, default=2048)
    m.add_argument("--chunk", type=int, default=64)
    m.add_argument("--steps", type=int, default=20)
    m.add_argument("--texts", type=int, default=0, help="texts packed into a row")
    m.add_argument("--full-precision", action="store_true")
    m.add_argument("--teacher", action="store_true", help="with a full-precision teacher of the same shape")
    m.add_argument("--recompute", action="store_true", help="activation checkpointing")
    m.add_argument("--eager", action="store_true", help="without torch.compile")
    m.add_argument("--no-graph", action="store_true", help="without recording kernels")
    a = p.parse_args(argv)
    try:
        return {"train": _train, "binarize": _binarize, "plot": _plot, "bench": _bench}[a.command](a)
    except (ValueError, OSError, RuntimeError) as e:
        print(f"bimamba_train: {e}", file=sys.stderr)
        return 1


def _train(a: argparse.Namespace) -> int:
    from . import loop, settings

    report = loop.run(settings.read(a.config, a.set), a.out, a.quiet)
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(report))
    return 0


def _binarize(a: argparse.Namespace) -> int:
    from . import checkpoint, model, posttrain, settings
    from .loop import Batches

    m = checkpoint.load_model(a.checkpoint)
    if m.binarized():
        raise ValueError(f"{a.checkpoint}: its projections are 1 bit already")
    if a.method == "rounding":
        out = posttrain.rounding(m, model.PROJECTIONS)
    else:
        if not a.config:
            raise ValueError("gptq needs --config, for data to calibrate it with")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        data = Batches(settings.read(a.config))
        out = posttrain.gptq(m.to(device), model.PROJECTIONS, [data[k].to(device) for k in range(a.batches)])
    checkpoint.save_model(a.out, out.c, out.state_dict(), a.tokenizer)
    return 0


def _plot(a: argparse.Namespace) -> int:
    from . import log

    pairs = [x.partition("=") for x in a.logs]
    log.plot({n: log.read(path) for n, _, path in pairs}, a.out)
    return 0


def _bench(a: argparse.Namespace) -> int:
    from . import bench

    full = Config(**SIZES[a.size], binarize=(), chunk=a.chunk)
    c = Config(**SIZES[a.size], **({"binarize": ()} if a.full_precision else {}), chunk=a.chunk, recompute=a.recompute)
    print(json.dumps(bench.measure(c, a.batch, a.length, a.texts, full if a.teacher else None, a.steps, not a.eager, not a.no_graph)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
