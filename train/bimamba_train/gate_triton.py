"""RMSNorm of y * silu(z), each group of channels by itself, for NVIDIA cards: what lies between the state space and the second projection, in one pass each way."""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, WARPS = 1, 8  # tokens of a program at a time
PROGRAMS = 528  # of the backward pass at most: each adds its tokens' gradients of the weight up


@triton.jit
def _gated(y, z, w, r, M, H, zt, eps, c, D):
    """Tiles of tokens r and a group's channels c: y, z, silu(z), the gated value normalised, its reciprocal deviation, and w."""
    ok = (r < M)[:, None] & (c < D)[None, :]
    r = r.to(tl.int64)[:, None]
    y = tl.load(y + r * H + c[None, :], mask=ok, other=0.0).to(tl.float32)
    z = tl.load(z + r * zt + c[None, :], mask=ok, other=0.0).to(tl.float32)
    s = tl.sigmoid(z)
    v = y * z * s
    rstd = tl.rsqrt(tl.sum(v * v, 1) / D + eps)[:, None]
    return ok, y, z, s, v * rstd, rstd, tl.load(w + c, mask=c < D, other=0.0)[None, :]


@triton.jit
def _forward(y, z, w, out, M, H, zt, eps, D, R: tl.constexpr, N: tl.constexpr):
    r, c, at = tl.program_id(0) * R + tl.arange(0, R), tl.arange(0, N), tl.program_id(1) * D
    ok, _, _, _, v, _, weight = _gated(y + at, z + at, w + at, r, M, H, zt, eps, c, D)
    tl.store(out + at + r.to(tl.int64)[:, None] * H + c[None, :], (v * weight).to(out.dtype.element_ty), mask=ok)


@triton.jit
def _backward(dout, y, z, w, dy, dz, parts, M, H, zt, dzt, eps, D, R: tl.constexpr, N: tl.constexpr):
    c, at = tl.arange(0, N), tl.program_id(1) * D
    dw = tl.zeros((R, N), tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(M, R), tl.num_programs(0)):
        r = block * R + tl.arange(0, R)
        ok, yv, zv, s, v, rstd, weight = _gated(y + at, z + at, w + at, r, M, H, zt, eps, c, D)
        r = r.to(tl.int64)[:, None]
        g = tl.load(dout + at + r * H + c[None, :], mask=ok, other=0.0).to(tl.float32)
        dw += g * v
        g *= weight
        g = rstd * (g - v * (tl.sum(g * v, 1) / D)[:, None])
        tl.store(dy + at + r * H + c[None, :], (g * zv * s).to(dy.dtype.element_ty), mask=ok)
        tl.store(dz + at + r * dzt + c[None, :], (g * yv * s * (1 + zv * (1 - s))).to(dz.dtype.element_ty), mask=ok)
    tl.store(parts + tl.program_id(0) * H + at + c, tl.sum(dw, 0), mask=c < D)


def forward(y: Tensor, z: Tensor, w: Tensor, groups: int, eps: float) -> Tensor:
    """y (b,t,h) contiguous; z (b,t,h), a view whose tokens lie evenly; w (h)."""
    b, t, h = y.shape
    out = torch.empty_like(y)
    _forward[(triton.cdiv(b * t, ROWS), groups)](y, z, w, out, b * t, h, z.stride(1), eps, h // groups, R=ROWS, N=triton.next_power_of_2(h // groups), num_warps=WARPS)
    return out


def backward(dout: Tensor, y: Tensor, z: Tensor, w: Tensor, groups: int, eps: float, dz: Tensor) -> tuple[Tensor, Tensor]:
    """Fills dz, laid out like z; returns dy and the gradient of w."""
    b, t, h = y.shape
    dy, programs = torch.empty_like(y), min(PROGRAMS, triton.cdiv(b * t, ROWS))
    parts = torch.empty((programs, h), dtype=torch.float32, device=y.device)
    _backward[(programs, groups)](dout, y, z, w, dy, dz, parts, b * t, h, z.stride(1), dz.stride(1), eps, h // groups, R=ROWS, N=triton.next_power_of_2(h // groups), num_warps=WARPS)
    return dy, parts.sum(0)
