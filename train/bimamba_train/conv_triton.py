"""silu(causal depthwise convolution) of width 4, for NVIDIA cards. A program walks along its tokens with the last four in registers, so that each
value is read once; backward it walks the other way, and gradients of taps add up in registers too. Shapes as in model.Conv."""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

WIDTH = 4
SPAN = 128  # tokens of a program
ROWS, CHANNELS, AHEAD = 4, 128, 4  # rows and channels of a program, and how many tokens it loads ahead
WARPS = 4


@triton.jit
def _taps(w, c, ok):
    """The tap of a token itself, and of those one, two and three before it."""
    return (tl.load(w + c * 4 + 3, mask=ok, other=0.0)[None, :], tl.load(w + c * 4 + 2, mask=ok, other=0.0)[None, :],
            tl.load(w + c * 4 + 1, mask=ok, other=0.0)[None, :], tl.load(w + c * 4, mask=ok, other=0.0)[None, :])


@triton.jit
def _value(x, t, rows, ok):
    """Token t of a tile of rows and channels at x, in float32; 0 before the first."""
    return tl.load(x + rows * t, mask=ok & (t >= 0), other=0.0).to(tl.float32)


@triton.jit
def _forward(x, w, bias, seg, y, M, T, D, xb, xt, SPAN: tl.constexpr, R: tl.constexpr, N: tl.constexpr, AHEAD: tl.constexpr):
    b, c, first = tl.program_id(0) * R + tl.arange(0, R), tl.program_id(2) * N + tl.arange(0, N), tl.program_id(1) * SPAN
    row, ok = b < M, (b < M)[:, None] & (c < D)[None, :]
    w0, w1, w2, w3 = _taps(w, c, c < D)
    shift = tl.load(bias + c, mask=c < D, other=0.0)[None, :]
    b = b.to(tl.int64)
    x, y, seg = x + b[:, None] * xb + c[None, :], y + b[:, None] * T * D + c[None, :], seg + b * T
    v1, v2, v3 = _value(x, first - 1, xt, ok), _value(x, first - 2, xt, ok), _value(x, first - 3, xt, ok)
    s1 = tl.load(seg + first - 1, mask=row & (first >= 1), other=-1)
    s2 = tl.load(seg + first - 2, mask=row & (first >= 2), other=-1)
    s3 = tl.load(seg + first - 3, mask=row & (first >= 3), other=-1)
    for t in tl.range(first, min(first + SPAN, T), num_stages=AHEAD):
        v0 = tl.load(x + t * xt, mask=ok, other=0.0).to(tl.float32)
        s0 = tl.load(seg + t, mask=row, other=-2)
        a = shift + v0 * w0 + tl.where((s1 == s0)[:, None], v1, 0.0) * w1 + tl.where((s2 == s0)[:, None], v2, 0.0) * w2 + tl.where((s3 == s0)[:, None], v3, 0.0) * w3
        tl.store(y + t * D, (a * tl.sigmoid(a)).to(y.dtype.element_ty), mask=ok)
        v3, v2, v1, s3, s2, s1 = v2, v1, v0, s2, s1, s0


@triton.jit
def _backward(x, w, bias, seg, dy, dx, parts, M, T, D, xb, xt, db, dt, SPAN: tl.constexpr, R: tl.constexpr, N: tl.constexpr, AHEAD: tl.constexpr):
    """dx, and each program's share of the gradients of taps and bias: parts (programs, 5, D)."""
    b, c, first = tl.program_id(0) * R + tl.arange(0, R), tl.program_id(2) * N + tl.arange(0, N), tl.program_id(1) * SPAN
    row, ok = b < M, (b < M)[:, None] & (c < D)[None, :]
    w0, w1, w2, w3 = _taps(w, c, c < D)
    shift = tl.load(bias + c, mask=c < D, other=0.0)[None, :]
    b = b.to(tl.int64)
    x, dy, dx, seg = x + b[:, None] * xb + c[None, :], dy + b[:, None] * T * D + c[None, :], dx + b[:, None] * db + c[None, :], seg + b * T
    # The next program's first three tokens have gradients for this one's last; they are computed here too.
    end = min(first + SPAN + 3, T)
    v0, v1, v2 = _value(x, end - 1, xt, ok), _value(x, end - 2, xt, ok), _value(x, end - 3, xt, ok)
    s0 = tl.load(seg + end - 1, mask=row, other=-1)
    s1 = tl.load(seg + end - 2, mask=row & (end >= 2), other=-1)
    s2 = tl.load(seg + end - 3, mask=row & (end >= 3), other=-1)
    # Each a value of its own: one that two names share at first is not seen to change where one becomes the other.
    g1, g2, g3 = tl.zeros((R, N), tl.float32), tl.zeros((R, N), tl.float32), tl.zeros((R, N), tl.float32)
    n1, n2, n3 = tl.full((R,), -3, tl.int32), tl.full((R,), -3, tl.int32), tl.full((R,), -3, tl.int32)
    sum0, sum1, sum2, sum3 = tl.zeros((R, N), tl.float32), tl.zeros((R, N), tl.float32), tl.zeros((R, N), tl.float32), tl.zeros((R, N), tl.float32)
    sums = tl.zeros((R, N), tl.float32)
    for i in tl.range(0, end - first, num_stages=AHEAD):
        t = end - 1 - i
        v3 = tl.load(x + (t - 3) * xt, mask=ok & (t >= 3), other=0.0).to(tl.float32)
        s3 = tl.load(seg + t - 3, mask=row & (t >= 3), other=-1)
        g = tl.load(dy + t * D, mask=ok, other=0.0).to(tl.float32)
        u1, u2, u3 = tl.where((s1 == s0)[:, None], v1, 0.0), tl.where((s2 == s0)[:, None], v2, 0.0), tl.where((s3 == s0)[:, None], v3, 0.0)
        a = shift + v0 * w0 + u1 * w1 + u2 * w2 + u3 * w3
        s = tl.sigmoid(a)
        g = g * s * (1 + a * (1 - s))
        back = g * w0 + tl.where((n1 == s0)[:, None], g1, 0.0) * w1 + tl.where((n2 == s0)[:, None], g2, 0.0) * w2 + tl.where((n3 == s0)[:, None], g3, 0.0) * w3
        own = t < first + SPAN
        tl.store(dx + t * dt, back.to(dx.dtype.element_ty), mask=ok & own)
        mine = tl.where(ok & own, g, 0.0)
        sum0 += mine * v0
        sum1 += mine * u1
        sum2 += mine * u2
        sum3 += mine * u3
        sums += mine
        g3, g2, g1, n3, n2, n1 = g2, g1, g, n2, n1, s0
        v0, v1, v2, s0, s1, s2 = v1, v2, v3, s1, s2, s3
    part = parts + (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * 5 * D + c
    tl.store(part, tl.sum(sum3, 0), mask=c < D)
    tl.store(part + D, tl.sum(sum2, 0), mask=c < D)
    tl.store(part + 2 * D, tl.sum(sum1, 0), mask=c < D)
    tl.store(part + 3 * D, tl.sum(sum0, 0), mask=c < D)
    tl.store(part + 4 * D, tl.sum(sums, 0), mask=c < D)


def _grid(x: Tensor) -> tuple[int, int, int]:
    b, t, d = x.shape
    return triton.cdiv(b, ROWS), triton.cdiv(t, SPAN), triton.cdiv(d, CHANNELS)


def forward(x: Tensor, w: Tensor, bias: Tensor, seg: Tensor) -> Tensor:
    """x (b,t,d), whose channels lie side by side; w (d,4) and bias (d) in float32; seg (b,t)."""
    b, t, d = x.shape
    y = torch.empty((b, t, d), dtype=x.dtype, device=x.device)
    _forward[_grid(x)](x, w, bias, seg, y, b, t, d, x.stride(0), x.stride(1), SPAN=SPAN, R=ROWS, N=CHANNELS, AHEAD=AHEAD, num_warps=WARPS)
    return y


def backward(dy: Tensor, x: Tensor, w: Tensor, bias: Tensor, seg: Tensor, dx: Tensor) -> Tensor:
    """Fills dx (b,t,d), which may be a view; returns the gradients of the taps and the bias, (5,d)."""
    b, t, d = x.shape
    grid = _grid(x)
    parts = torch.empty((grid[0] * grid[1], 5, d), dtype=torch.float32, device=x.device)
    _backward[grid](x, w, bias, seg, dy, dx, parts, b, t, d, x.stride(0), x.stride(1), dx.stride(0), dx.stride(1), SPAN=SPAN, R=ROWS, N=CHANNELS, AHEAD=AHEAD, num_warps=WARPS)
    return parts.sum(0)


@torch.library.custom_op("bimamba::conv", mutates_args=())
def _conv(x: Tensor, w: Tensor, bias: Tensor, seg: Tensor) -> Tensor:
    return forward(x, w, bias, seg)


@_conv.register_fake
def _(x, w, bias, seg):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.custom_op("bimamba::conv_backward", mutates_args=())
def _conv_backward(dy: Tensor, x: Tensor, w: Tensor, bias: Tensor, seg: Tensor) -> tuple[Tensor, Tensor]:
    dx = torch.empty_like(dy)
    return dx, backward(dy, x, w, bias, seg, dx)


@_conv_backward.register_fake
def _(dy, x, w, bias, seg):
    return torch.empty_like(dy), torch.empty((5, x.shape[2]), dtype=torch.float32, device=x.device)


def _save(ctx, inputs, output) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _grads(ctx, dy: Tensor):
    dx, parts = _conv_backward(dy.contiguous(), *ctx.saved_tensors)
    return dx, parts[:-1].t(), parts[-1], None


_conv.register_autograd(_grads, setup_context=_save)


def fused(x: Tensor, w: Tensor, bias: Tensor, seg: Tensor) -> Tensor:
    """silu(conv(x)); x (b,t,d), w (d,1,4), bias (d)."""
    return _conv(x, w.float()[:, 0].contiguous(), bias.float(), seg)


def takes(x: Tensor, w: Tensor) -> bool:
    return x.is_cuda and w.shape[2] == WIDTH and x.stride(2) == 1
