"""The state space of Mamba-2: step by step, and in chunks of matrix products (SSD, arXiv 2405.21060).

Shapes: b sequences, t tokens, h heads of p channels, g groups of B and C, n states a channel.
    x (b,t,h,p)   dt (b,t,h), after softplus   A (h), negative   B, C (b,t,g,n)   seg (b,t), or None
    S = exp(dt A) S + dt x (outer) B;   y = S C
seg numbers the texts that are packed into one row, never falling: the state starts at zero where it changes.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, seg: Tensor | None = None) -> Tensor:
    """The definition, one token at a time. Slow: what the chunked form is held against."""
    b, t, h, p = x.shape
    heads = h // B.shape[2]
    B, C = B.repeat_interleave(heads, 2), C.repeat_interleave(heads, 2)  # (b,t,h,n)
    S = x.new_zeros(b, h, p, B.shape[3])
    out = []
    for i in range(t):
        keep = torch.exp(dt[:, i] * A)
        if seg is not None and i > 0:
            keep = keep * (seg[:, i] == seg[:, i - 1]).unsqueeze(1).to(keep.dtype)
        S = keep[..., None, None] * S + torch.einsum("bh,bhp,bhn->bhpn", dt[:, i], x[:, i], B[:, i])
        out.append(torch.einsum("bhpn,bhn->bhp", S, C[:, i]))
    return torch.stack(out, 1)


def chunked(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int, seg: Tensor | None = None) -> Tensor:
    """The same in chunks of `chunk` tokens: products within a chunk, and one state a chunk that is handed on.

    Decays are computed in float32 and the products in x's type. Cost grows with t*chunk, not with t*t.
    """
    b, t, h, p = x.shape
    g, n = B.shape[2:]
    rest = -t % chunk
    if rest:
        x, B, C = (F.pad(v, (0, 0, 0, 0, 0, rest)) for v in (x, B, C))
        dt = F.pad(dt, (0, 0, 0, rest))
        seg = F.pad(seg, (0, rest), value=-1) if seg is not None else None
    c = (t + rest) // chunk
    # Channels to the back and chunks to the front, as batched products want them.
    x = x.view(b, c, chunk, h, p).permute(0, 1, 3, 2, 4)  # (b,c,h,l,p)
    dt = dt.float().view(b, c, chunk, h).permute(0, 1, 3, 2)  # (b,c,h,l)
    B = B.view(b, c, chunk, g, n).permute(0, 1, 3, 2, 4)  # (b,c,g,l,n)
    C = C.view(b, c, chunk, g, n).permute(0, 1, 3, 2, 4)
    cum = (dt * A.float()[:, None]).cumsum(-1)  # log of the decay since before the chunk's first token

    causal = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    if seg is not None:
        s = seg.view(b, c, chunk)
        causal = (causal & (s[..., :, None] == s[..., None, :])).unsqueeze(2)  # (b,c,1,l,l)
    decay = torch.exp((cum[..., :, None] - cum[..., None, :]).masked_fill(~causal, float("-inf")))
    mix = _heads(C @ B.transpose(-1, -2), h) * (decay * dt[..., None, :]).to(x.dtype)  # (b,c,h,l,l)
    y = mix @ x
    if c > 1:
        y = y + _between(x, dt, cum, B, C, seg.view(b, c, chunk) if seg is not None else None)
    return y.permute(0, 1, 3, 2, 4).reshape(b, t + rest, h, p)[:, :t]


def _between(x: Tensor, dt: Tensor, cum: Tensor, B: Tensor, C: Tensor, seg: Tensor | None) -> Tensor:
    """What tokens get from the chunks before theirs. All arguments as laid out by chunked."""
    h, c = x.shape[2], x.shape[1]
    total = cum[..., -1]  # (b,c,h)
    to_end = torch.exp(total.unsqueeze(-1) - cum) * dt
    if seg is not None:
        to_end = to_end * (seg == seg[..., -1:]).unsqueeze(2)
    # The state that each chunk adds by its end: (b,c,h,p,n)
    states = (x * to_end.unsqueeze(-1).to(x.dtype)).transpose(-1, -2) @ _heads(B, h)
    # And what of chunk k is left at the start of chunk i > k: a small lower triangle over chunks, (b,h,i,k).
    before = total.cumsum(1).transpose(1, 2)  # (b,h,c), decay up to each chunk's end
    log = F.pad(before, (1, 0))[..., :c].unsqueeze(-1) - before.unsqueeze(-2)
    keep = torch.ones(c, c, dtype=torch.bool, device=x.device).tril(-1)
    if seg is not None:
        last = seg[..., -1]  # (b,c)
        keep = (keep & (last.roll(1, 1).unsqueeze(-1) == last.unsqueeze(-2))).unsqueeze(1)
    left = torch.exp(log.masked_fill(~keep, float("-inf"))).to(x.dtype)
    start = torch.einsum("bhik,bkhpn->bihpn", left, states)
    from_start = torch.exp(cum)
    if seg is not None:
        from_start = from_start * (seg == seg[..., -1].roll(1, 1).unsqueeze(-1)).unsqueeze(2)
    return (_heads(C, h) @ start.transpose(-1, -2)) * from_start.unsqueeze(-1).to(x.dtype)


def _heads(v: Tensor, h: int) -> Tensor:
    """(b,c,g,..) to (b,c,h,..): heads share their group's B and C."""
    g = v.shape[2]
    if g == h:
        return v
    b, c, _, m, n = v.shape
    return v.unsqueeze(3).expand(b, c, g, h // g, m, n).reshape(b, c, h, m, n)
