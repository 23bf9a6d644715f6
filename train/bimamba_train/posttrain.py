"""Binarization behind training, for comparison: by rounding, and in the manner of GPTQ (arXiv 2210.17323), which lets each column's error be
made up for by the columns behind it. Both give the authors' layout with one scale and shift a column."""
from __future__ import annotations

import dataclasses
from typing import Callable

import torch
from torch import Tensor, nn

from .fbi import binarize_weight, is_binarized
from .model import Model
from .shards import Batch


def target(m: Model, patterns: tuple[str, ...]) -> Model:
    """An empty model of m's shape, with 1-bit projections."""
    return Model(dataclasses.replace(m.c, binarize=patterns, pattern="column"))


@torch.no_grad()
def rounding(m: Model, patterns: tuple[str, ...]) -> Model:
    out = target(m, patterns)
    out.load_full_precision({k: v.cpu() for k, v in m.state_dict().items()})
    return out


@torch.no_grad()
def gptq(m: Model, patterns: tuple[str, ...], batches: list[Batch], damp: float = 0.01) -> Model:
    """Layers in order; the inputs of each come from the layers before it as they are binarized. batches are calibration text."""
    m.eval()
    out = target(m, patterns)
    weights = {k: v.cpu() for k, v in m.state_dict().items()}
    for name, linear in [(n, x) for n, x in m.named_modules() if isinstance(x, nn.Linear) and is_binarized(n, patterns)]:
        latent, scale, shift = compensate(linear.weight.float(), _hessian(linear, lambda: [m(b.ids[:, :-1], b.seg[:, :-1] if b.seg is not None else None) for b in batches]), damp)
        weights.update({f"{name}.weight": latent.cpu(), f"{name}.wscale": scale.cpu(), f"{name}.wbias": shift.cpu()})
        linear.weight.copy_(scale * torch.sign(latent) + shift)
    out.load_state_dict(weights)
    return out


def _hessian(linear: nn.Linear, run: Callable[[], object]) -> Tensor:
    """X^T X of the layer's inputs, (in, in)."""
    h = torch.zeros(linear.in_features, linear.in_features, device=linear.weight.device)

    def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0].reshape(-1, args[0].shape[-1]).float()
        h.addmm_(x.t(), x)

    hook = linear.register_forward_pre_hook(see)
    try:
        run()
    finally:
        hook.remove()
    return h


def compensate(w: Tensor, h: Tensor, damp: float) -> tuple[Tensor, Tensor, Tensor]:
    """(latent weight, wscale, wbias) of w (out, in): columns one after the other, each one's error spread over those behind it by the inverse Hessian."""
    w, h = w.clone(), h.clone()
    n = w.shape[1]
    dead = h.diagonal() == 0
    h[dead, dead] = 1
    h.diagonal().add_(damp * h.diagonal().mean())
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    latent, scale, shift = torch.empty_like(w), w.new_empty(1, n), w.new_empty(1, n)
    for i in range(n):
        c, s, m = binarize_weight(w[:, i : i + 1], "column")
        c = torch.where(c == 0, torch.full_like(c, 1e-6), c)
        latent[:, i : i + 1], scale[0, i], shift[0, i] = c, s[0, 0], m[0, 0]
        error = (w[:, i] - (s[0, 0] * torch.sign(c[:, 0]) + m[0, 0])) / u[i, i]
        w[:, i:] -= error.unsqueeze(1) * u[i, i:].unsqueeze(0)
    return latent, scale, shift

