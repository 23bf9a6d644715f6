"""Teachers: models whose probabilities are the labels. Our own Mamba-2 checkpoints, one or a mean of several, or a Hugging Face causal LM."""
from __future__ import annotations

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import checkpoint
from .model import Model


class Teacher:
    """Soft labels (b,t,rows) of ids (b,t), without gradients."""

    def __init__(self, models: list[nn.Module], rows: int, packed: bool) -> None:
        self.models, self.rows, self.packed, self.mean = models, rows, packed, mean
        for m in models:
            m.eval()
            m.requires_grad_(False)

    @torch.no_grad()
    def labels(self, ids: Tensor, seg: Tensor | None) -> Tensor:
        if seg is not None and not self.packed:
            raise ValueError("this teacher cannot keep packed texts apart: train on windows of plain text with it")
        p = self.mean([m(ids, seg) if self.packed else m(ids).logits for m in self.models])
        # Rows that only pad the vocabulary have no probability.
        return F.pad(p, (0, self.rows - p.shape[-1])) if p.shape[-1] < self.rows else p

    def compile(self) -> None:
        for m in self.models:
            if isinstance(m, Model):
                m.compile(sharded=False)
        self.mean = torch.compile(mean)


def mean(logits: list[Tensor]) -> Tensor:
    """The mean of the models' probabilities, in half precision if the logits are: float16 then, which near 1 is finer than bfloat16."""
    p = torch.stack([torch.softmax(v.float(), -1) for v in logits]).mean(0) if len(logits) > 1 else torch.softmax(logits[0].float(), -1)
    return p if logits[0].dtype == torch.float32 else p.half()


def load(names: list[str], rows: int, vocab: int, device: torch.device, chunk: int) -> Teacher:
    """Teachers by name: folders of our checkpoints, or one `hf:NAME` (a folder or hub name that transformers loads)."""
    if any(n.startswith("hf:") for n in names):
        if len(names) > 1:
            raise ValueError("a Hugging Face teacher stands alone")
        return Teacher([_hugging_face(names[0][3:], vocab, device)], rows, packed=False)
    models: list[nn.Module] = []
    for n in names:
        m = checkpoint.load_model(n, chunk=chunk)
        if m.c.rows != rows:
            raise ValueError(f"teacher {n}: its vocabulary has {m.c.rows} rows, the student's {rows}: distillation needs the same vocabulary")
        models.append(m.to(device))
    return Teacher(models, rows, packed=True)


def _hugging_face(name: str, vocab: int, device: torch.device) -> nn.Module:
    try:
        from transformers import AutoModelForCausalLM
    except ImportError:
        raise RuntimeError(f"teacher hf:{name} needs the package transformers") from None
    kw: dict[str, Any] = {"local_files_only": True} if os.path.isdir(name) else {}
    m = AutoModelForCausalLM.from_pretrained(name, torch_dtype=torch.bfloat16 if device.type == "cuda" else torch.float32, **kw)
    if m.config.vocab_size != vocab:
        raise ValueError(f"teacher hf:{name}: its vocabulary has {m.config.vocab_size} tokens, the student's {vocab}: distillation needs the same vocabulary")
    return m.to(device)
