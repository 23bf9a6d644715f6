"""Files: models in the authors' layout, which `bimamba convert` reads, and snapshots that a run goes on from."""
from __future__ import annotations

import glob
import json
import mmap
import os
import shutil
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor

from .model import Config, Model

SHARD_BYTES = 14 << 20  # of weights in a file, so that each passes through tools that limit a file's size
TINY = 2.0**-24  # the smallest positive float16


def write_whole(path: str, write: Callable[[str], None]) -> None:
    """path appears whole or not at all, also when the machine dies."""
    part = f"{path}.part"
    write(part)
    with open(part, "rb+") as f:
        os.fsync(f.fileno())
    os.replace(part, path)


def write_json(path: str, value: Any) -> None:
    def write(p: str) -> None:
        with open(p, "w") as f:
            json.dump(value, f, indent=1)
            f.write("\n")

    write_whole(path, write)


def to_half(name: str, w: Tensor) -> Tensor:
    """float16. A latent weight that rounds to 0 would have no sign, so it keeps the smallest one of its own."""
    h = w.detach().to("cpu", torch.float32).half()
    if name.endswith("_proj.weight"):
        h = torch.where(h == 0, torch.where(w.detach().cpu() < 0, -TINY, TINY).half(), h)
    if not torch.isfinite(h).all():
        raise ValueError(f"{name}: a value is too large for float16, or not a number")
    return h


def save_model(folder: str, c: Config, weights: dict[str, Tensor], tokenizer: str | None = None) -> None:
    """config.json, pytorch_model-*.bin in float16 and their index; tokenizer is a tokenizer.json to put beside them."""
    os.makedirs(folder, exist_ok=True)
    half = {k: to_half(k, v) for k, v in weights.items()}
    if c.tie_embeddings:
        half["lm_head.weight"] = half["backbone.embedding.weight"]
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for k, v in half.items():
        n = v.numel() * 2
        if size + n > SHARD_BYTES and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][k] = v.clone()  # not a view: torch.save writes whole storages
        size += n
    where = {}
    for i, s in enumerate(shards):
        name = f"pytorch_model-{i + 1:05d}-of-{len(shards):05d}.bin"
        write_whole(os.path.join(folder, name), lambda p, s=s: torch.save(s, p))
        where.update({k: name for k in s})
    if tokenizer:
        shutil.copyfile(tokenizer, os.path.join(folder, "tokenizer.json"))
    write_json(os.path.join(folder, "config.json"), c.to_json())
    write_json(os.path.join(folder, "pytorch_model.bin.index.json"), {"metadata": {"total_size": sum(v.numel() * 2 for v in half.values())}, "weight_map": where})


DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


def read_safetensors(path: str) -> dict[str, Tensor]:
    """Every tensor of the file. 8 bytes length, a JSON header, the bytes."""
    with open(path, "rb") as f:
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    n = int.from_bytes(data[:8], "little")
    if n > len(data) - 8:
        raise ValueError(f"{path}: its header would be {n} bytes long, the file has {len(data)}")
    out = {}
    for name, t in json.loads(data[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        kind, shape, (begin, end) = t["dtype"], t["shape"], t["data_offsets"]
        if kind not in DTYPES:
            raise ValueError(f"{path}: {name} has type {kind}, which is not known here")
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(DTYPES[kind]).itemsize
        if not 0 <= begin <= end <= len(data) - 8 - n or end - begin != size:
            raise ValueError(f"{path}: {name} lies outside of the file, or has another size than its shape says")
        v = np.frombuffer(data, DTYPES[kind], size // np.dtype(DTYPES[kind]).itemsize, 8 + n + begin).reshape(shape)
        if kind == "BF16":
            out[name] = torch.from_numpy((v.astype(np.uint32) << 16).view(np.float32))
        else:
            out[name] = torch.from_numpy(v.copy())
    return out


def read_weights(folder: str) -> dict[str, Tensor]:
    """float32 tensors of a checkpoint, by the names of this package's model; a tied copy of the embedding is left out by load_model."""
    files = sorted(glob.glob(os.path.join(folder, "pytorch_model*.bin")))
    safe = sorted(glob.glob(os.path.join(folder, "*.safetensors")))
    if not files and not safe:
        raise FileNotFoundError(f"{folder}: no pytorch_model*.bin or *.safetensors there")
    out: dict[str, Tensor] = {}
    for p in safe:
        out.update(read_safetensors(p))
    if not safe:
        for p in files:
            out.update(torch.load(p, map_location="cpu", weights_only=True))
    return {k: v.float() for k, v in out.items()}


def load_model(folder: str, **training: Any) -> Model:
    """A checkpoint in the authors' layout. Which projections are 1 bit is seen from its wscale tensors."""
    weights = read_weights(folder)
    with open(os.path.join(folder, "config.json")) as f:
        raw = json.load(f)
    bits = tuple(sorted(k[: -len(".wscale")] for k in weights if k.endswith(".wscale")))
    pattern = "column"
    if bits:
        shape = tuple(weights[f"{bits[0]}.wscale"].shape)
        pattern = "single" if len(shape) == 1 else "column" if shape[0] == 1 else "row"
    c = Config.from_json(raw, binarize=bits, pattern=pattern, **training)
    if c.tie_embeddings:
        weights.pop("lm_head.weight", None)
    m = Model(c)
    try:
        m.load_state_dict(weights)
    except RuntimeError as e:
        raise ValueError(f"{folder}: {e}") from None
    return m


class Snapshots:
    """The last two states of a run, so that a kill while one is written leaves the other."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _paths(self) -> list[str]:
        return sorted(glob.glob(os.path.join(self.folder, "step-*.pt")))

    def save(self, step: int, state: dict[str, Any]) -> None:
        os.makedirs(self.folder, exist_ok=True)
        write_whole(os.path.join(self.folder, f"step-{step:09d}.pt"), lambda p: torch.save(state, p))
        for old in self._paths()[:-2]:
            os.remove(old)

    def load(self) -> dict[str, Any] | None:
        paths = self._paths()
        # PyTorch 1's safe reader knows no floats, which an optimizer's state has.
        safe = int(torch.__version__.split(".")[0]) >= 2
        return torch.load(paths[-1], map_location="cpu", weights_only=safe) if paths else None
