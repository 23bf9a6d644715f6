"""The state space of short rows, for NVIDIA cards: like attention whose weights are C B^T times decays, in blocks, nothing of size t*t in memory.

Cost grows with t*t, so rows longer than LONGEST go the chunked way. Heads of a group share B and C, so a program takes a row and many heads, and
pairs of blocks one after the other: C B^T is computed once for all heads, and the gradients of B and C are products with the sum over heads.
With P_ij = (C_i . B_j) exp(cum_i - cum_j) for j <= i in the same text, y_i = sum_j P_ij dt_j x_j + D x_i. cum's gradient is the sum of
w_ij = dt_j P_ij (dy_i . x_j) over a row less that over a column. xBC (b,t,h*p + 2*g*n) is contiguous; raw (b,t,h), dt before softplus, is a view.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LONGEST = 512
LOG2E = tl.constexpr(1.4426950408889634)
# Tokens of a block, parts that a group's heads are dealt out to, and heads that are loaded ahead. With AHEAD=3 the forward pass was faster and,
# for two groups with headdim 32 and d_state 128, wrong (Triton 3.6): run tests/test_gpu.py on a card before changing these.
FORWARD = dict(BLOCK=64, PARTS=2, AHEAD=2, num_warps=4)
BACKWARD = dict(BLOCK=64, PARTS=2, AHEAD=2, num_warps=4)


@triton.jit
def _times(raw, bias, A, dt, cum, T, H, rb, rt, TP: tl.constexpr, HP: tl.constexpr):
    """dt (b,h,t), and the decays' logarithms to base 2, summed up."""
    b, t, h = tl.program_id(0).to(tl.int64), tl.arange(0, TP), tl.arange(0, HP)
    ok = (t < T)[:, None] & (h < H)[None, :]
    u = tl.load(raw + b * rb + t[:, None] * rt + h[None, :], mask=ok, other=0.0).to(tl.float32) + tl.load(bias + h, mask=h < H, other=0.0)[None, :]
    v = tl.where(u > 20.0, u, tl.log(1.0 + tl.exp(u)))
    at = b * H * T + h[None, :] * T + t[:, None]
    tl.store(dt + at, v, mask=ok)
    tl.store(cum + at, tl.cumsum(v * (tl.load(A + h, mask=h < H, other=0.0) * LOG2E)[None, :], 0), mask=ok)


@triton.jit
def _times_backward(sums, raw, bias, A, dt, draw, parts, M, T, H, rb, rt, drb, drt, TP: tl.constexpr, HP: tl.constexpr):
    """draw, and each row's gradients of bias, A and D: parts (b,3,h)."""
    b, t, h = tl.program_id(0).to(tl.int64), tl.arange(0, TP), tl.arange(0, HP)
    ok = (t < T)[:, None] & (h < H)[None, :]
    at = b * H * T + h[None, :] * T + t[:, None]
    dcum = tl.load(sums + at, mask=ok, other=0.0) - tl.load(sums + M + at, mask=ok, other=0.0)
    dcum = tl.cumsum(dcum, 0, reverse=True)
    u = tl.load(raw + b * rb + t[:, None] * rt + h[None, :], mask=ok, other=0.0).to(tl.float32) + tl.load(bias + h, mask=h < H, other=0.0)[None, :]
    du = tl.load(sums + 2 * M + at, mask=ok, other=0.0) + tl.load(A + h, mask=h < H, other=0.0)[None, :] * dcum
    du = tl.where(ok, du * tl.sigmoid(u), 0.0)
    tl.store(draw + b * drb + t[:, None] * drt + h[None, :], du.to(draw.dtype.element_ty), mask=ok)
    part = parts + b * 3 * H + h
    tl.store(part, tl.sum(du, 0), mask=h < H)
    tl.store(part + H, tl.sum(dcum * tl.load(dt + at, mask=ok, other=0.0), 0), mask=h < H)
    tl.store(part + 2 * H, tl.sum(tl.load(sums + 3 * M + at, mask=ok, other=0.0), 0), mask=h < H)


@triton.jit
def _pair(xBC, seg, i, j, T, W, to_B, to_C, N: tl.constexpr):
    """Of two blocks of tokens: C of i, B of j, which pairs count, and C B^T of those."""
    n = tl.arange(0, N)
    C = tl.load(xBC + i[:, None] * W + to_C + n[None, :], mask=i[:, None] < T, other=0.0)
    B = tl.load(xBC + j[:, None] * W + to_B + n[None, :], mask=j[:, None] < T, other=0.0)
    same = tl.load(seg + i, mask=i < T, other=-1)[:, None] == tl.load(seg + j, mask=j < T, other=-2)[None, :]
    pairs = (i[:, None] >= j[None, :]) & same
    return C, B, pairs, tl.where(pairs, tl.dot(C, tl.trans(B)), 0.0)


@triton.jit
def _head(xBC, dt, cum, h, i, j, T, W, P: tl.constexpr):
    """A head's x and dt of block j, and its decays from there to block i: at most 1 for pairs that do not count, which C B^T has at 0."""
    x = tl.load(xBC + j[:, None] * W + h * P + tl.arange(0, P)[None, :], mask=j[:, None] < T, other=0.0).to(tl.float32)
    passed = tl.load(cum + h * T + i, mask=i < T, other=0.0)[:, None] - tl.load(cum + h * T + j, mask=j < T, other=0.0)[None, :]
    return x, tl.load(dt + h * T + j, mask=j < T, other=0.0), tl.exp2(tl.minimum(passed, 0.0))


@triton.jit
def _place(H, G, P: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr):
    """This program's row, first head and the one behind its last, where the group's B and C begin in a token of xBC, and how wide that is."""
    b, g, part = (tl.program_id(0) // (G * PARTS)).to(tl.int64), (tl.program_id(0) // PARTS) % G, tl.program_id(0) % PARTS
    some = tl.cdiv(H // G, PARTS)
    first = g * (H // G) + part * some
    return b, first, min(first + some, (g + 1) * (H // G)), H * P + g * N, H * P + (G + g) * N, H * P + 2 * G * N


@triton.jit
def _forward(xBC, dt, cum, D, seg, y, T, H, G, P: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, AHEAD: tl.constexpr):
    b, first, last, to_B, to_C, W = _place(H, G, P, N, PARTS)
    xBC, dt, cum, seg, y = xBC + b * T * W, dt + b * H * T, cum + b * H * T, seg + b * T, y + b * T * H * P
    p = tl.arange(0, P)
    for jb in range(0, tl.cdiv(T, BLOCK)):
        j = jb * BLOCK + tl.arange(0, BLOCK)
        for ib in range(jb, tl.cdiv(T, BLOCK)):
            i = ib * BLOCK + tl.arange(0, BLOCK)
            C, B, pairs, S = _pair(xBC, seg, i, j, T, W, to_B, to_C, N)
            for h in tl.range(first, last, num_stages=AHEAD):
                x, t, decay = _head(xBC, dt, cum, h, i, j, T, W, P)
                at = y + i[:, None] * (H * P) + h * P + p[None, :]
                out = tl.load(at, mask=(i[:, None] < T) & (jb > 0), other=0.0).to(tl.float32)  # from the blocks before
                out += tl.dot((S * decay).to(C.dtype), (x * t[:, None]).to(C.dtype)) + tl.where(ib == jb, tl.load(D + h), 0.0) * x
                tl.store(at, out.to(y.dtype.element_ty), mask=i[:, None] < T)
            tl.debug_barrier()


@triton.jit
def _backward(dy, xBC, dt, cum, D, seg, dxBC, shared, sums, M, T, H, G, P: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, AHEAD: tl.constexpr):
    """x's part of dxBC; shared (parts,b,t,2*g*n), what each part of the heads adds to the gradients of B and C; and sums (4,b,h,t) of each token:
    w over its row, w over its column, the gradient of dt but for cum's, and x . dy. What a later pair of blocks adds is added in memory."""
    b, first, last, to_B, to_C, W = _place(H, G, P, N, PARTS)
    shared += ((tl.program_id(0) % PARTS) * (tl.num_programs(0) // (G * PARTS)) + b) * T * 2 * G * N - H * P
    xBC, dxBC, dt, cum, seg, dy, sums = xBC + b * T * W, dxBC + b * T * W, dt + b * H * T, cum + b * H * T, seg + b * T, dy + b * T * H * P, sums + b * H * T
    p, n = tl.arange(0, P), tl.arange(0, N)
    for jb in range(0, tl.cdiv(T, BLOCK)):
        j = jb * BLOCK + tl.arange(0, BLOCK)
        for ib in range(jb, tl.cdiv(T, BLOCK)):
            i = ib * BLOCK + tl.arange(0, BLOCK)
            C, B, pairs, S = _pair(xBC, seg, i, j, T, W, to_B, to_C, N)
            i_again, j_again = (i < T) & (jb > 0), (j < T) & (ib > jb)
            dS = tl.zeros((BLOCK, BLOCK), tl.float32)
            for h in tl.range(first, last, num_stages=AHEAD):
                x, t, decay = _head(xBC, dt, cum, h, i, j, T, W, P)
                d = tl.load(dy + i[:, None] * (H * P) + h * P + p[None, :], mask=i[:, None] < T, other=0.0)
                dP = tl.dot(d, tl.trans((x * t[:, None]).to(d.dtype)))  # times dt_j
                dS += dP * decay
                weight = S * decay
                back = tl.dot(tl.trans(weight.to(d.dtype)), d)
                w = dP * weight
                skip = tl.where(ib == jb, d.to(tl.float32), 0.0)
                at = dxBC + j[:, None] * W + h * P + p[None, :]
                dx = tl.load(at, mask=j_again[:, None], other=0.0).to(tl.float32) + back * t[:, None] + tl.load(D + h) * skip
                tl.store(at, dx.to(dxBC.dtype.element_ty), mask=j[:, None] < T)
                row, column, own = sums + h * T + i, sums + M + h * T + j, sums + 2 * M + h * T + j
                tl.store(row, tl.load(row, mask=i_again, other=0.0) + tl.sum(w, 1), mask=i < T)
                tl.store(column, tl.load(column, mask=j_again, other=0.0) + tl.sum(w, 0), mask=j < T)
                tl.store(own, tl.load(own, mask=j_again, other=0.0) + tl.sum(back * x, 1), mask=j < T)
                tl.store(sums + 3 * M + h * T + j, tl.sum(skip * x, 1), mask=(j < T) & (ib == jb))
            dS = tl.where(pairs, dS, 0.0)
            to_i, to_j = shared + i[:, None] * (2 * G * N) + to_C + n[None, :], shared + j[:, None] * (2 * G * N) + to_B + n[None, :]
            tl.store(to_i, tl.load(to_i, mask=i_again[:, None], other=0.0) + tl.dot(dS.to(B.dtype), B), mask=i[:, None] < T)
            tl.store(to_j, tl.load(to_j, mask=j_again[:, None], other=0.0) + tl.dot(tl.trans(dS).to(C.dtype), C), mask=j[:, None] < T)
            tl.debug_barrier()


def _options(chosen: dict[str, int], t: int) -> dict[str, int]:
    return {**chosen, "BLOCK": min(chosen["BLOCK"], max(16, triton.next_power_of_2(t)))}


def _padded(t: int, h: int) -> dict[str, int]:
    return {"TP": triton.next_power_of_2(t), "HP": triton.next_power_of_2(h)}


def forward(xBC: Tensor, raw: Tensor, bias: Tensor, A: Tensor, D: Tensor, seg: Tensor, p: int, n: int) -> tuple[Tensor, Tensor]:
    """y (b,t,h*p), and what the backward pass wants: dt and the sums of decays, (2,b,h,t)."""
    b, t, width = xBC.shape
    h = raw.shape[2]
    g = (width - h * p) // (2 * n)
    times = torch.empty((2, b, h, t), dtype=torch.float32, device=xBC.device)
    _times[(b,)](raw, bias, A, times[0], times[1], t, h, raw.stride(0), raw.stride(1), **_padded(t, h))
    y = torch.empty((b, t, h * p), dtype=xBC.dtype, device=xBC.device)
    _forward[(b * g * FORWARD["PARTS"],)](xBC, times[0], times[1], D, seg, y, t, h, g, P=p, N=n, **_options(FORWARD, t))
    return y, times


def backward(dy: Tensor, xBC: Tensor, raw: Tensor, bias: Tensor, A: Tensor, D: Tensor, seg: Tensor, times: Tensor, p: int, n: int, draw: Tensor) -> tuple[Tensor, Tensor]:
    """Fills draw, laid out like raw; returns dxBC, and (3,h): the gradients of bias, A and D."""
    b, t, width = xBC.shape
    h = raw.shape[2]
    g = (width - h * p) // (2 * n)
    parts = BACKWARD["PARTS"]
    new = lambda *s: torch.empty(s, dtype=torch.float32, device=xBC.device)  # noqa: E731
    dxBC, shared, sums, small = torch.empty_like(xBC), new(parts, b, t, 2 * g * n), new(4, b, h, t), new(b, 3, h)
    _backward[(b * g * parts,)](dy, xBC, times[0], times[1], D, seg, dxBC, shared, sums, b * h * t, t, h, g, P=p, N=n, **_options(BACKWARD, t))
    dxBC[..., h * p :] = shared.sum(0)
    _times_backward[(b,)](sums, raw, bias, A, times[0], draw, small, b * h * t, t, h, raw.stride(0), raw.stride(1), draw.stride(0), draw.stride(1), **_padded(t, h))
    return dxBC, small.sum(0)


def takes(t: int, p: int, n: int) -> bool:
    return t <= LONGEST and all(16 <= d <= 128 and d & (d - 1) == 0 for d in (p, n))
