"""The state space of short rows in two fused kernels, for NVIDIA cards: like attention whose weights are C B^T times decays, nothing of size t*t in memory.

Cost grows with t*t, so rows longer than LONGEST go the chunked way. Shapes as in ssd.py. With w_ij = (C_i . B_j) exp(cum_i - cum_j) dt_j for j <= i in
the same text, y_i = sum_j w_ij x_j. cum's gradient is the sum of dw w over a row less that over a column, and the latter is dt times dt's gradient.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LONGEST = 512
BLOCK = 64


@triton.jit
def _decay(cum_i, cum_j, seg_i, seg_j, i, j):
    keep = (i[:, None] >= j[None, :]) & (seg_i[:, None] == seg_j[None, :])
    return tl.exp(tl.where(keep, cum_i[:, None] - cum_j[None, :], float("-inf")))


@triton.jit
def _forward(x, B, C, cum, dt, seg, y, T, H, G, xb, xt, xh, Bb, Bt, Bg, Cb, Ct, Cg, P: tl.constexpr, N: tl.constexpr, L: tl.constexpr):
    b, h = tl.program_id(0) // H, tl.program_id(0) % H
    g = h // (H // G)
    block = tl.program_id(1)
    i = block * L + tl.arange(0, L)
    p, n = tl.arange(0, P), tl.arange(0, N)
    vec = (b * H + h) * T
    c = tl.load(C + b * Cb + g * Cg + i[:, None] * Ct + n[None, :], mask=i[:, None] < T, other=0.0)
    cum_i = tl.load(cum + vec + i, mask=i < T, other=0.0)
    seg_i = tl.load(seg + b * T + i, mask=i < T, other=-1)
    acc = tl.zeros((L, P), tl.float32)
    for other in range(0, block + 1):
        j = other * L + tl.arange(0, L)
        inside = j[:, None] < T
        k = tl.load(B + b * Bb + g * Bg + j[:, None] * Bt + n[None, :], mask=inside, other=0.0)
        v = tl.load(x + b * xb + h * xh + j[:, None] * xt + p[None, :], mask=inside, other=0.0)
        cum_j = tl.load(cum + vec + j, mask=j < T, other=0.0)
        dt_j = tl.load(dt + vec + j, mask=j < T, other=0.0)
        seg_j = tl.load(seg + b * T + j, mask=j < T, other=-2)
        w = tl.dot(c, tl.trans(k)) * _decay(cum_i, cum_j, seg_i, seg_j, i, j) * dt_j[None, :]
        acc += tl.dot(w.to(v.dtype), v)
    tl.store(y + ((b * T + i[:, None]) * H + h) * P + p[None, :], acc.to(y.dtype.element_ty), mask=i[:, None] < T)


@triton.jit
def _backward_j(x, B, C, cum, dt, seg, dy, dx, dB, ddt, T, H, G, xb, xt, xh, Bb, Bt, Bg, Cb, Ct, Cg, P: tl.constexpr, N: tl.constexpr, L: tl.constexpr):
    """What a token gets back from those behind it: dx, dB (each head's), and dt's own gradient."""
    b, h = tl.program_id(0) // H, tl.program_id(0) % H
    g = h // (H // G)
    block = tl.program_id(1)
    j = block * L + tl.arange(0, L)
    p, n = tl.arange(0, P), tl.arange(0, N)
    vec = (b * H + h) * T
    inside = j[:, None] < T
    k = tl.load(B + b * Bb + g * Bg + j[:, None] * Bt + n[None, :], mask=inside, other=0.0)
    v = tl.load(x + b * xb + h * xh + j[:, None] * xt + p[None, :], mask=inside, other=0.0)
    cum_j = tl.load(cum + vec + j, mask=j < T, other=0.0)
    dt_j = tl.load(dt + vec + j, mask=j < T, other=0.0)
    seg_j = tl.load(seg + b * T + j, mask=j < T, other=-2)
    acc_x, acc_B, acc_t = tl.zeros((L, P), tl.float32), tl.zeros((L, N), tl.float32), tl.zeros((L,), tl.float32)
    for other in range(block, tl.cdiv(T, L)):
        i = other * L + tl.arange(0, L)
        c = tl.load(C + b * Cb + g * Cg + i[:, None] * Ct + n[None, :], mask=i[:, None] < T, other=0.0)
        d = tl.load(dy + ((b * T + i[:, None]) * H + h) * P + p[None, :], mask=i[:, None] < T, other=0.0)
        cum_i = tl.load(cum + vec + i, mask=i < T, other=0.0)
        seg_i = tl.load(seg + b * T + i, mask=i < T, other=-1)
        e = _decay(cum_i, cum_j, seg_i, seg_j, i, j)
        s = tl.dot(c, tl.trans(k)) * e
        dw = tl.dot(d, tl.trans(v))
        acc_t += tl.sum(dw * s, 0)
        acc_x += tl.dot(tl.trans((s * dt_j[None, :]).to(d.dtype)), d)
        acc_B += tl.dot(tl.trans((dw * e * dt_j[None, :]).to(c.dtype)), c)
    row = (b * T + j[:, None]) * H + h
    tl.store(dx + row * P + p[None, :], acc_x.to(dx.dtype.element_ty), mask=inside)
    tl.store(dB + row * N + n[None, :], acc_B.to(dB.dtype.element_ty), mask=inside)
    tl.store(ddt + vec + j, acc_t, mask=j < T)


@triton.jit
def _backward_i(x, B, C, cum, dt, seg, dy, dC, row, T, H, G, xb, xt, xh, Bb, Bt, Bg, Cb, Ct, Cg, P: tl.constexpr, N: tl.constexpr, L: tl.constexpr):
    """dC (each head's), from the tokens before, and the sums over rows of dw w."""
    b, h = tl.program_id(0) // H, tl.program_id(0) % H
    g = h // (H // G)
    block = tl.program_id(1)
    i = block * L + tl.arange(0, L)
    p, n = tl.arange(0, P), tl.arange(0, N)
    vec = (b * H + h) * T
    d = tl.load(dy + ((b * T + i[:, None]) * H + h) * P + p[None, :], mask=i[:, None] < T, other=0.0)
    cum_i = tl.load(cum + vec + i, mask=i < T, other=0.0)
    seg_i = tl.load(seg + b * T + i, mask=i < T, other=-1)
    c = tl.load(C + b * Cb + g * Cg + i[:, None] * Ct + n[None, :], mask=i[:, None] < T, other=0.0)
    acc, acc_r = tl.zeros((L, N), tl.float32), tl.zeros((L,), tl.float32)
    for other in range(0, block + 1):
        j = other * L + tl.arange(0, L)
        inside = j[:, None] < T
        k = tl.load(B + b * Bb + g * Bg + j[:, None] * Bt + n[None, :], mask=inside, other=0.0)
        v = tl.load(x + b * xb + h * xh + j[:, None] * xt + p[None, :], mask=inside, other=0.0)
        cum_j = tl.load(cum + vec + j, mask=j < T, other=0.0)
        dt_j = tl.load(dt + vec + j, mask=j < T, other=0.0)
        seg_j = tl.load(seg + b * T + j, mask=j < T, other=-2)
        ds = tl.dot(d, tl.trans(v)) * _decay(cum_i, cum_j, seg_i, seg_j, i, j) * dt_j[None, :]
        acc_r += tl.sum(ds * tl.dot(c, tl.trans(k)), 1)
        acc += tl.dot(ds.to(k.dtype), k)
    tl.store(row + vec + i, acc_r, mask=i < T)
    tl.store(dC + ((b * T + i[:, None]) * H + h) * N + n[None, :], acc.to(dC.dtype.element_ty), mask=i[:, None] < T)


def _grid(x: Tensor) -> tuple[int, int]:
    return x.shape[0] * x.shape[2], triton.cdiv(x.shape[1], BLOCK)


@torch.library.custom_op("bimamba::ssd", mutates_args=())
def _ssd(x: Tensor, cum: Tensor, dt: Tensor, B: Tensor, C: Tensor, seg: Tensor) -> Tensor:
    b, t, h, p = x.shape
    y = torch.empty((b, t, h, p), dtype=x.dtype, device=x.device)
    _forward[_grid(x)](x, B, C, cum, dt, seg, y, t, h, B.shape[2], *x.stride()[:3], *B.stride()[:3], *C.stride()[:3], P=p, N=B.shape[3], L=BLOCK)
    return y


@_ssd.register_fake
def _(x, cum, dt, B, C, seg):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.custom_op("bimamba::ssd_backward", mutates_args=())
def _ssd_backward(dy: Tensor, x: Tensor, cum: Tensor, dt: Tensor, B: Tensor, C: Tensor, seg: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    b, t, h, p = x.shape
    g, n = B.shape[2:]
    dx, ddt, row = torch.empty_like(dy), torch.empty_like(dt), torch.empty_like(dt)
    dB, dC = (torch.empty((b, t, h, n), dtype=B.dtype, device=x.device) for _ in range(2))
    strides = (*x.stride()[:3], *B.stride()[:3], *C.stride()[:3])
    _backward_j[_grid(x)](x, B, C, cum, dt, seg, dy, dx, dB, ddt, t, h, g, *strides, P=p, N=n, L=BLOCK)
    _backward_i[_grid(x)](x, B, C, cum, dt, seg, dy, dC, row, t, h, g, *strides, P=p, N=n, L=BLOCK)
    return dx, ddt, row, dB, dC


@_ssd_backward.register_fake
def _(dy, x, cum, dt, B, C, seg):
    b, t, h, _ = x.shape
    heads = torch.empty((b, t, h, B.shape[3]), dtype=B.dtype, device=x.device)
    return torch.empty_like(dy), torch.empty_like(dt), torch.empty_like(dt), heads, torch.empty_like(heads)


def _save(ctx, inputs, output) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _backward(ctx, dy: Tensor):
    x, cum, dt, B, C, seg = ctx.saved_tensors
    dx, ddt, row, dB, dC = _ssd_backward(dy.contiguous(), x, cum, dt, B, C, seg)
    g = B.shape[2]
    dB, dC = (v.unflatten(2, (g, -1)).sum(3) for v in (dB, dC))
    return dx, row - dt * ddt, ddt, dB, dC, None


_ssd.register_autograd(_backward, setup_context=_save)


def fused(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, seg: Tensor | None) -> Tensor:
    """As ssd.chunked, for rows of at most LONGEST tokens; headdim and d_state are powers of two of at least 16."""
    dt = dt.float().transpose(1, 2).contiguous()  # (b,h,t)
    cum = (dt * A.float()[:, None]).cumsum(-1)
    if seg is None:
        seg = torch.zeros(x.shape[:2], dtype=torch.int32, device=x.device)
    return _ssd(x, cum, dt, B, C, seg.int().contiguous())


def takes(x: Tensor, B: Tensor) -> bool:
    def fits(d: int) -> bool:
        return 16 <= d <= 128 and d & (d - 1) == 0

    return x.is_cuda and x.shape[1] <= LONGEST and fits(x.shape[3]) and fits(B.shape[3]) and x.stride(3) == 1 and B.stride(3) == 1
