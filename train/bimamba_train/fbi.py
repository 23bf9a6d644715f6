"""FBI-Linear: a linear layer whose weights are signs, with learned scales and shifts (arXiv 2411.11843)."""
from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATTERNS = ("column", "row", "single")


class _Sign(torch.autograd.Function):
    """sign(x) forward; backward the gradient goes straight through."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # noqa: ARG004
        return torch.sign(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:  # noqa: ARG004
        return g


def sign(x: Tensor) -> Tensor:
    return _Sign.apply(x)


def scale_shape(pattern: str, out_features: int, in_features: int) -> tuple[int, ...]:
    """The shape of wscale and wbias; a reader of checkpoints tells the patterns apart by it."""
    if pattern not in PATTERNS:
        raise ValueError(f"binarization pattern {pattern!r}: it is one of {', '.join(PATTERNS)}")
    return {"column": (1, in_features), "row": (out_features, 1), "single": (1,)}[pattern]


class FBILinear(nn.Module):
    """y = x W~^T with W~ = wscale * sign(weight) + wbias; weight (out, in) is latent and trained like any other."""

    def __init__(self, in_features: int, out_features: int, pattern: str = "column") -> None:
        super().__init__()
        self.in_features, self.out_features, self.pattern = in_features, out_features, pattern
        shape = scale_shape(pattern, out_features, in_features)
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.wscale = nn.Parameter(torch.empty(shape))
        self.wbias = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.start_from_weight()

    @torch.no_grad()
    def start_from_weight(self) -> None:
        """Takes weight as full-precision: the shift starts at its mean, the scale at the mean of what is left, over the pattern's columns,
        rows or everything; the latent weight is centred, so that its signs are those of the deviations."""
        weight, scale, shift = binarize_weight(self.weight, self.pattern)
        self.weight.copy_(weight)
        self.wscale.copy_(scale)
        self.wbias.copy_(shift)

    def effective_weight(self) -> Tensor:
        return self.wscale * sign(self.weight) + self.wbias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight())

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, pattern={self.pattern}"


def binarize_weight(weight: Tensor, pattern: str) -> tuple[Tensor, Tensor, Tensor]:
    """(centred latent weight, wscale, wbias) of a full-precision weight (out, in)."""
    dims = {"column": (0,), "row": (1,), "single": (0, 1)}[pattern]
    shape = scale_shape(pattern, *weight.shape)
    mean = weight.mean(dims, keepdim=True)
    centred = weight - mean
    return centred, centred.abs().mean(dims, keepdim=True).view(shape), mean.view(shape)


def is_binarized(name: str, patterns: tuple[str, ...] | list[str]) -> bool:
    """Whether the module of this dotted name is one of those that the patterns (shell wildcards) select."""
    return any(fnmatchcase(name, p) for p in patterns)
