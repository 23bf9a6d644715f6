"""Mamba-2, with full-precision or 1-bit projections. Parameters are named as state-spaces and the authors of Bi-Mamba name them."""
from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import ssd
from .fbi import FBILinear, is_binarized

PROJECTIONS = ("*.in_proj", "*.out_proj")  # what the paper binarizes


@dataclasses.dataclass(frozen=True)
class Config:
    d_model: int
    n_layer: int
    vocab_size: int
    d_state: int = 128
    d_conv: int = 4
    expand: int = 2
    headdim: int = 64
    ngroups: int = 1
    pad_vocab_size_multiple: int = 16
    tie_embeddings: bool = True
    binarize: tuple[str, ...] = PROJECTIONS  # patterns of module names; () is full precision
    pattern: str = "column"
    # Of training, not of the model:
    chunk: int = 64
    dropout: float = 0.0
    recompute: bool = False  # activation checkpointing: a layer's activations are computed again in the backward pass

    @property
    def d_inner(self) -> int:
        return self.expand * self.d_model

    @property
    def nheads(self) -> int:
        return self.d_inner // self.headdim

    @property
    def conv_dim(self) -> int:
        return self.d_inner + 2 * self.ngroups * self.d_state

    @property
    def rows(self) -> int:
        """Of the embedding: the vocabulary, padded."""
        return -(-self.vocab_size // self.pad_vocab_size_multiple) * self.pad_vocab_size_multiple

    def to_json(self) -> dict[str, Any]:
        """config.json as the authors write it."""
        ssm = {"layer": "Mamba2", "d_state": self.d_state, "d_conv": self.d_conv, "expand": self.expand, "headdim": self.headdim, "ngroups": self.ngroups}
        return {
            "d_model": self.d_model, "d_intermediate": 0, "n_layer": self.n_layer, "vocab_size": self.vocab_size, "ssm_cfg": ssm,
            "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True,
            "pad_vocab_size_multiple": self.pad_vocab_size_multiple, "tie_embeddings": self.tie_embeddings,
        }

    @classmethod
    def from_json(cls, c: dict[str, Any], **training: Any) -> "Config":
        ssm = dict(c.get("ssm_cfg") or {})
        if ssm.pop("layer", "Mamba1") != "Mamba2":
            raise ValueError("config.json: ssm_cfg.layer is not Mamba2")
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = set(ssm) - known - {"chunk_size"}
        if unknown:
            raise ValueError(f"config.json: ssm_cfg has {', '.join(sorted(unknown))}, which is not known here")
        ssm.pop("chunk_size", None)
        return cls(d_model=c["d_model"], n_layer=c["n_layer"], vocab_size=c["vocab_size"], pad_vocab_size_multiple=c.get("pad_vocab_size_multiple", 8),
                   tie_embeddings=c.get("tie_embeddings", True), **ssm, **training)


# As published: vocabulary of LLaMA, d_state 128. `assistant` is the shape of the default model.
SIZES: dict[str, dict[str, int]] = {
    "assistant": dict(d_model=512, n_layer=12, vocab_size=4096, d_state=64),
    "780m": dict(d_model=1536, n_layer=48, vocab_size=32000),
    "1.3b": dict(d_model=2048, n_layer=48, vocab_size=32000),
    "2.7b": dict(d_model=2560, n_layer=64, vocab_size=32000),
}


class RMSNorm(nn.Module):
    """In float32. With groups, each group of channels is normalised by itself, as state-spaces does behind the mixer."""

    def __init__(self, d: int, groups: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.groups, self.eps = groups, eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.groups == 1:
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight
        v = x.unflatten(-1, (self.groups, -1))
        return (v * torch.rsqrt(v.square().mean(-1, keepdim=True) + self.eps)).flatten(-2) * self.weight


class Conv(nn.Module):
    """silu of a causal depthwise convolution over tokens that keeps packed texts apart."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, width))
        self.bias = nn.Parameter(torch.empty(channels))
        bound = 1 / math.sqrt(width)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, seg: Tensor | None) -> Tensor:  # x (b,t,channels)
        if conv_kernel is not None and conv_kernel.takes(x, self.weight):
            return conv_kernel.fused(x, self.weight, self.bias, _numbers(seg, x))
        t, width = x.shape[1], self.weight.shape[2]
        w = self.weight.to(x.dtype)[:, 0]
        y = x * w[:, width - 1] + self.bias.to(x.dtype)
        for back in range(1, min(width, t)):
            v = F.pad(x[:, : t - back], (0, 0, back, 0))
            if seg is not None:
                same = F.pad(seg[:, back:] == seg[:, : t - back], (back, 0))
                v = v * same.unsqueeze(-1).to(x.dtype)
            y = y + v * w[:, width - 1 - back]
        return F.silu(y)


class Mixer(nn.Module):
    def __init__(self, c: Config, name: str) -> None:
        super().__init__()
        self.c = c
        self.in_proj = self._linear(f"{name}.in_proj", c.d_model, c.d_inner + c.conv_dim + c.nheads)
        self.conv1d = Conv(c.conv_dim, c.d_conv)
        # dt starts between 0.001 and 0.1, A between -1 and -16, as in state-spaces.
        dt = torch.exp(torch.rand(c.nheads) * math.log(100) + math.log(1e-3)).clamp(min=1e-4)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.log(1 + 15 * torch.rand(c.nheads)))
        self.D = nn.Parameter(torch.ones(c.nheads))
        self.norm = RMSNorm(c.d_inner, c.ngroups)
        self.out_proj = self._linear(f"{name}.out_proj", c.d_inner, c.d_model)
        with torch.no_grad():  # so that the residual stream does not grow with depth
            self.out_proj.weight.div_(math.sqrt(c.n_layer))
            if isinstance(self.out_proj, FBILinear):
                self.out_proj.wscale.div_(math.sqrt(c.n_layer))
                self.out_proj.wbias.div_(math.sqrt(c.n_layer))

    def _linear(self, name: str, i: int, o: int) -> nn.Module:
        return FBILinear(i, o, self.c.pattern) if is_binarized(name, self.c.binarize) else nn.Linear(i, o, bias=False)

    def forward(self, u: Tensor, seg: Tensor | None) -> Tensor:  # u (b,t,d_model)
        return self.out_proj(self.core(self.in_proj(u), seg))

    def core(self, zxBCdt: Tensor, seg: Tensor | None) -> Tensor:
        """All between the two projections. On a GPU one operator of our own does it for short rows, unless mamba_ssm is installed."""
        c = self.c
        b, t, _ = zxBCdt.shape
        if core_kernel is not None and mamba_kernel is None and core_kernel.takes(zxBCdt, c.d_conv, c.headdim, c.d_state):
            return core_kernel.fused(zxBCdt, self.conv1d.weight, self.conv1d.bias, self.dt_bias, -torch.exp(self.A_log), self.D, self.norm.weight,
                                     _numbers(seg, zxBCdt), c.headdim, c.d_state, self.norm.eps)
        z, xBC, dt = zxBCdt.split([c.d_inner, c.conv_dim, c.nheads], -1)
        x, B, C = self.conv1d(xBC, seg).split([c.d_inner, c.ngroups * c.d_state, c.ngroups * c.d_state], -1)
        x = x.reshape(b, t, c.nheads, c.headdim)
        B, C = (v.reshape(b, t, c.ngroups, c.d_state) for v in (B, C))
        y = _scan(x, F.softplus(dt.float() + self.dt_bias), -torch.exp(self.A_log), B, C, c.chunk, seg)
        y = y + self.D.to(x.dtype).unsqueeze(-1) * x
        y = y.reshape(b, t, c.d_inner).float() * F.silu(z.float())
        return self.norm(y).to(zxBCdt.dtype)


def _scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int, seg: Tensor | None) -> Tensor:
    """On a GPU the kernels of mamba_ssm if they are installed; else matrix products."""
    if x.is_cuda and mamba_kernel is not None:
        return mamba_kernel(x, dt, A, B, C, chunk_size=chunk, seq_idx=None if seg is None else seg.int())
    return ssd.chunked(x, dt, A, B, C, chunk, seg)


def _numbers(seg: Tensor | None, x: Tensor) -> Tensor:
    """seg as kernels want it."""
    return x.new_zeros(x.shape[:2], dtype=torch.int32) if seg is None else seg.int().contiguous()


def _find_kernels() -> tuple[Any, Any, Any]:
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined as theirs
    except ImportError:
        theirs = None
    try:
        from . import conv_triton as conv
        from . import core_triton as core
    except (ImportError, AttributeError):  # no Triton, or a PyTorch without custom operators
        core = conv = None
    return theirs, core, conv


mamba_kernel, core_kernel, conv_kernel = _find_kernels()


class Block(nn.Module):
    def __init__(self, c: Config, name: str) -> None:
        super().__init__()
        self.norm = RMSNorm(c.d_model)
        self.mixer = Mixer(c, f"{name}.mixer")
        self.dropout = c.dropout

    def forward(self, h: Tensor, out: Tensor | None, seg: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.run(h, out, seg)

    def run(self, h: Tensor, out: Tensor | None, seg: Tensor | None) -> tuple[Tensor, Tensor]:
        """h (b,t,d_model) is the residual stream in float32, without what the block before this one put out: adding that and the norm are one pass."""
        h = _add(h, out, self.dropout, self.training)
        return h, self.mixer(self.norm(h), seg)


def _add(h: Tensor, out: Tensor | None, dropout: float, training: bool) -> Tensor:
    return h if out is None else h + F.dropout(out.float(), dropout, training)


def _compiled(f: Callable[..., Any]) -> Callable[..., Any]:
    """Tensors keep their own strides: padded ones would be copied for our kernels."""
    return torch.compile(f, options={"comprehensive_padding": False})


class Backbone(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.embedding = nn.Embedding(c.rows, c.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Block(c, f"backbone.layers.{i}") for i in range(c.n_layer))
        self.norm_f = RMSNorm(c.d_model)


class Model(nn.Module):
    """ids (b,t) to logits (b,t,rows)."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.backbone = Backbone(c)
        if not c.tie_embeddings:
            self.lm_head = nn.Linear(c.d_model, c.rows, bias=False)

    @property
    def head(self) -> Tensor:
        return self.backbone.embedding.weight if self.c.tie_embeddings else self.lm_head.weight

    def forward(self, ids: Tensor, seg: Tensor | None = None) -> Tensor:
        h, out = self.backbone.embedding(ids).float(), None
        if seg is not None and ids.is_cuda:
            seg = _numbers(seg, h)
        for layer in self.backbone.layers:
            if self.c.recompute and torch.is_grad_enabled():
                h, out = checkpoint(layer, h, out, seg, use_reentrant=False)
            else:
                h, out = layer(h, out, seg)
        return self.logits(h, out)

    def logits(self, h: Tensor, out: Tensor | None) -> Tensor:
        return F.linear(self.backbone.norm_f(_add(h, out, self.c.dropout, self.training)), self.head)

    def compile(self, sharded: bool) -> None:
        """Has the layers compiled: one graph serves them all. Sharded layers fetch their weights in between, so only what lies between the projections."""
        for layer in self.backbone.layers:
            if sharded:
                layer.mixer.core = _compiled(layer.mixer.core)
            else:
                layer.run = _compiled(layer.run)
        if not sharded:
            self.logits = _compiled(self.logits)

    def binarized(self) -> dict[str, FBILinear]:
        return {n: m for n, m in self.named_modules() if isinstance(m, FBILinear)}

    @torch.no_grad()
    def load_full_precision(self, weights: dict[str, Tensor]) -> None:
        """Starts from a full-precision checkpoint: 1-bit layers take scale, shift and signs from its weights."""
        missing, unexpected = self.load_state_dict(weights, strict=False)
        lost = [k for k in missing if not k.endswith((".wscale", ".wbias"))]
        if lost or unexpected:
            raise ValueError(f"the checkpoint does not fit: {len(lost)} tensors are missing ({', '.join(lost[:3])}), {len(unexpected)} unknown ({', '.join(unexpected[:3])})")
        for m in self.binarized().values():
            m.start_from_weight()
