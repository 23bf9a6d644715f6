"""silu(causal depthwise convolution), fused for NVIDIA cards: each value is read once instead of once for each tap. Shapes as in model.Conv."""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, CHANNELS = 32, 64  # tokens and channels of a program


@triton.jit
def _before(x, w, bias, seg, b, t, c, T, D, xb, xt, W: tl.constexpr):
    """The convolution, before its activation, at tokens t of row b; float32."""
    inside = (t < T)[:, None] & (c < D)[None, :]
    here = tl.load(seg + b * T + t, mask=t < T, other=-1)
    acc = tl.zeros(inside.shape, tl.float32) + tl.load(bias + c, mask=c < D, other=0.0)[None, :]
    for k in tl.static_range(W):
        s = t - k
        same = (s >= 0) & (tl.load(seg + b * T + s, mask=(s >= 0) & (s < T), other=-2) == here)
        v = tl.load(x + b * xb + s[:, None] * xt + c[None, :], mask=inside & same[:, None], other=0.0)
        acc += v.to(tl.float32) * tl.load(w + c * W + W - 1 - k, mask=c < D, other=0.0)[None, :]
    return acc


@triton.jit
def _forward(x, w, bias, seg, y, T, D, xb, xt, W: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
    blocks = tl.cdiv(T, R)
    b, t = tl.program_id(0) // blocks, (tl.program_id(0) % blocks) * R + tl.arange(0, R)
    c = tl.program_id(1) * N + tl.arange(0, N)
    a = _before(x, w, bias, seg, b, t, c, T, D, xb, xt, W)
    tl.store(y + (b * T + t[:, None]) * D + c[None, :], (a * tl.sigmoid(a)).to(y.dtype.element_ty), mask=(t < T)[:, None] & (c < D)[None, :])


@triton.jit
def _backward_weights(x, w, bias, seg, dy, da, parts, T, D, xb, xt, W: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
    """da, the gradient before the activation, and each program's share of those of taps and bias: parts (programs, W+1, D)."""
    blocks = tl.cdiv(T, R)
    b, t = tl.program_id(0) // blocks, (tl.program_id(0) % blocks) * R + tl.arange(0, R)
    c = tl.program_id(1) * N + tl.arange(0, N)
    inside = (t < T)[:, None] & (c < D)[None, :]
    a = _before(x, w, bias, seg, b, t, c, T, D, xb, xt, W)
    g = tl.load(dy + (b * T + t[:, None]) * D + c[None, :], mask=inside, other=0.0).to(tl.float32)
    s = tl.sigmoid(a)
    g = tl.where(inside, g * s * (1 + a * (1 - s)), 0.0)
    tl.store(da + (b * T + t[:, None]) * D + c[None, :], g.to(da.dtype.element_ty), mask=inside)
    part = parts + tl.program_id(0) * (W + 1) * D + c
    tl.store(part + W * D, tl.sum(g, 0), mask=c < D)
    here = tl.load(seg + b * T + t, mask=t < T, other=-1)
    for k in tl.static_range(W):
        q = t - k
        same = (q >= 0) & (tl.load(seg + b * T + q, mask=(q >= 0) & (q < T), other=-2) == here)
        v = tl.load(x + b * xb + q[:, None] * xt + c[None, :], mask=inside & same[:, None], other=0.0)
        tl.store(part + (W - 1 - k) * D, tl.sum(g * v.to(tl.float32), 0), mask=c < D)


@triton.jit
def _backward_input(da, w, seg, dx, T, D, W: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
    blocks = tl.cdiv(T, R)
    b, t = tl.program_id(0) // blocks, (tl.program_id(0) % blocks) * R + tl.arange(0, R)
    c = tl.program_id(1) * N + tl.arange(0, N)
    inside = (t < T)[:, None] & (c < D)[None, :]
    here = tl.load(seg + b * T + t, mask=t < T, other=-1)
    acc = tl.zeros((R, N), tl.float32)
    for k in tl.static_range(W):
        q = t + k
        same = (q < T) & (tl.load(seg + b * T + q, mask=q < T, other=-2) == here)
        v = tl.load(da + (b * T + q[:, None]) * D + c[None, :], mask=inside & same[:, None], other=0.0)
        acc += v.to(tl.float32) * tl.load(w + c * W + W - 1 - k, mask=c < D, other=0.0)[None, :]
    tl.store(dx + (b * T + t[:, None]) * D + c[None, :], acc.to(dx.dtype.element_ty), mask=inside)


def _grid(x: Tensor) -> tuple[int, int]:
    b, t, d = x.shape
    return b * triton.cdiv(t, ROWS), triton.cdiv(d, CHANNELS)


@torch.library.custom_op("bimamba::conv", mutates_args=())
def _conv(x: Tensor, w: Tensor, bias: Tensor, seg: Tensor) -> Tensor:
    b, t, d = x.shape
    y = torch.empty((b, t, d), dtype=x.dtype, device=x.device)
    _forward[_grid(x)](x, w, bias, seg, y, t, d, x.stride(0), x.stride(1), W=w.shape[1], R=ROWS, N=CHANNELS)
    return y


@_conv.register_fake
def _(x, w, bias, seg):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.custom_op("bimamba::conv_backward", mutates_args=())
def _conv_backward(dy: Tensor, x: Tensor, w: Tensor, bias: Tensor, seg: Tensor) -> tuple[Tensor, Tensor]:
    b, t, d = x.shape
    width, grid = w.shape[1], _grid(x)
    da, dx = torch.empty_like(dy), torch.empty_like(dy)
    parts = torch.empty((grid[0], width + 1, d), dtype=torch.float32, device=x.device)
    _backward_weights[grid](x, w, bias, seg, dy, da, parts, t, d, x.stride(0), x.stride(1), W=width, R=ROWS, N=CHANNELS)
    _backward_input[grid](da, w, seg, dx, t, d, W=width, R=ROWS, N=CHANNELS)
    return dx, parts.sum(0)


@_conv_backward.register_fake
def _(dy, x, w, bias, seg):
    return torch.empty_like(dy), torch.empty((w.shape[1] + 1, x.shape[2]), dtype=torch.float32, device=x.device)


def _save(ctx, inputs, output) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _backward(ctx, dy: Tensor):
    dx, parts = _conv_backward(dy.contiguous(), *ctx.saved_tensors)
    return dx, parts[:-1].t(), parts[-1], None


_conv.register_autograd(_backward, setup_context=_save)


def fused(x: Tensor, w: Tensor, bias: Tensor, seg: Tensor | None) -> Tensor:
    """silu(conv(x)); x (b,t,channels), w (channels,1,width), bias (channels)."""
    if seg is None:
        seg = torch.zeros(x.shape[:2], dtype=torch.int32, device=x.device)
    return _conv(x, w.float()[:, 0].contiguous(), bias.float(), seg.int().contiguous())
