"""Configurations of runs: TOML files, with single values changed on the command line. A key that is not known is refused."""
from __future__ import annotations

import dataclasses
import tomllib
from typing import Any

from .model import PROJECTIONS, SIZES, Config
from .shards import Source


@dataclasses.dataclass(frozen=True)
class Data:
    """packed: examples side by side, drawn from the sources by their shares. windows: plain text of one source, each token once an epoch."""

    mode: str
    sources: tuple[Source, ...]
    length: int  # tokens of a row
    batch: int  # rows of a batch, which one process computes at a time
    batches: int = 1  # batches of a step, spread over the processes: gradients are added up
    prompt_weight: float = 0.15
    padding: int = 1  # the token that fills rows up
    workers: int = 0


@dataclasses.dataclass(frozen=True)
class Train:
    steps: int
    lr: float = 2.5e-4
    lr_floor: float = 0.1
    warmup: int = 2000
    weight_decay: float = 0.1
    beta2: float = 0.95
    clip: float = 1.0
    seconds: float = 0.0  # if set, the schedule also ends by this clock, which does not count before step 5
    seed: int = 1
    teachers: tuple[str, ...] = ()
    mix: float = 1.0  # the teacher's part of the loss
    start: str = ""  # a checkpoint to start from, of the same shape: full precision, or of the same binarization
    bf16: bool = True  # on a GPU
    compile: bool = True  # on a GPU, with PyTorch 2
    graph: bool = True  # on one GPU, compiled: a batch's kernels are recorded once and replayed
    parallel: str = "auto"
    snapshot_every: int = 1000
    log_every: int = 50
    tensorboard: bool = False
    tokenizer: str = ""  # tokenizer.json to put beside the finished model


@dataclasses.dataclass(frozen=True)
class Settings:
    model: Config
    data: Data
    train: Train


def read(path: str, changes: list[str] | None = None) -> Settings:
    with open(path, "rb") as f:
        raw = tomllib.load(f)
    for c in changes or []:
        change(raw, c)
    try:
        return build(raw)
    except (ValueError, TypeError) as e:
        raise ValueError(f"{path}: {e}") from None


def change(raw: dict[str, Any], text: str) -> None:
    """`train.seed=2`: the value is TOML."""
    key, eq, value = text.partition("=")
    if not eq:
        raise ValueError(f"--set {text!r}: write it as section.key=value")
    at = raw
    *path, last = key.strip().split(".")
    for p in path:
        at = at.setdefault(p, {})
    try:
        at[last] = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        at[last] = value  # a bare word


def build(raw: dict[str, Any]) -> Settings:
    raw = {k: dict(v) for k, v in raw.items()}
    unknown = set(raw) - {"model", "data", "train"}
    if unknown:
        raise ValueError(f"section [{sorted(unknown)[0]}] is not known")
    m = raw.get("model", {})
    size = m.pop("size", None)
    if size is not None and size not in SIZES:
        raise ValueError(f"model.size {size!r}: it is one of {', '.join(SIZES)}")
    bits = m.pop("binarize", True)
    m["binarize"] = PROJECTIONS if bits is True else () if bits is False else tuple(bits)
    d = raw.get("data", {})
    d["sources"] = tuple(_make(Source, "data.sources", s) for s in d.get("sources", ()))
    t = raw.get("train", {})
    t["teachers"] = tuple(t.get("teachers", ()))
    s = Settings(_make(Config, "model", {**SIZES.get(size, {}), **m}), _make(Data, "data", d), _make(Train, "train", t))
    if s.data.mode not in ("packed", "windows") or not s.data.sources or (s.data.mode == "windows" and len(s.data.sources) > 1):
        raise ValueError("data.mode is packed, with one [[data.sources]] or more, or windows, with exactly one")
    return s


def _make(kind: type, where: str, values: dict[str, Any]) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"{where}.{sorted(unknown)[0]} is not known; there are {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as e:
        raise ValueError(f"{where}: {e}") from None
