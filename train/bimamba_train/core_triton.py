"""All that a mixer does between its projections, as one operator for NVIDIA cards and short rows: convolution, state space, gate and norm, of
which each writes its gradient where the next one, and in_proj at last, reads it."""
from __future__ import annotations

import torch
from torch import Tensor

from . import conv_triton as conv
from . import gate_triton as gate
from . import ssd_triton as ssd


def _split(zxBCdt: Tensor, width: int, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views: z, xBC and dt before softplus."""
    inner = zxBCdt.shape[2] - width - heads
    return zxBCdt[..., :inner], zxBCdt[..., inner : inner + width], zxBCdt[..., inner + width :]


@torch.library.custom_op("bimamba::core", mutates_args=())
def _core(zxBCdt: Tensor, w: Tensor, bias: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, norm: Tensor, seg: Tensor, p: int, n: int, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The result, and what the backward pass wants of the way there: the convolution's result, the state space's, and its times."""
    z, v, raw = _split(zxBCdt, w.shape[0], A.shape[0])
    xBC = conv.forward(v, w, bias, seg)
    y, times = ssd.forward(xBC, raw, dt_bias, A, D, seg, p, n)
    return gate.forward(y, z, norm, _groups(w, A, p, n), eps), xBC, y, times


@_core.register_fake
def _(zxBCdt, w, bias, dt_bias, A, D, norm, seg, p, n, eps):
    b, t, _ = zxBCdt.shape
    of = lambda d: torch.empty((b, t, d), dtype=zxBCdt.dtype, device=zxBCdt.device)  # noqa: E731
    return of(norm.shape[0]), of(w.shape[0]), of(norm.shape[0]), torch.empty((2, b, A.shape[0], t), dtype=torch.float32, device=zxBCdt.device)


@torch.library.custom_op("bimamba::core_backward", mutates_args=())
def _core_backward(dout: Tensor, zxBCdt: Tensor, w: Tensor, bias: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, norm: Tensor, seg: Tensor, xBC: Tensor, y: Tensor, times: Tensor,
                   p: int, n: int, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    z, v, raw = _split(zxBCdt, w.shape[0], A.shape[0])
    grad = torch.empty_like(zxBCdt)
    dz, dv, draw = _split(grad, w.shape[0], A.shape[0])
    dy, dnorm = gate.backward(dout, y, z, norm, _groups(w, A, p, n), eps, dz)
    dxBC, heads = ssd.backward(dy, xBC, raw, dt_bias, A, D, seg, times, p, n, draw)
    return grad, conv.backward(dxBC, v, w, bias, seg, dv), heads, dnorm


@_core_backward.register_fake
def _(dout, zxBCdt, w, bias, dt_bias, A, D, norm, seg, xBC, y, times, p, n, eps):
    of = lambda *s: torch.empty(s, dtype=torch.float32, device=zxBCdt.device)  # noqa: E731
    return torch.empty_like(zxBCdt), of(5, w.shape[0]), of(3, A.shape[0]), of(norm.shape[0])


def _groups(w: Tensor, A: Tensor, p: int, n: int) -> int:
    return (w.shape[0] - A.shape[0] * p) // (2 * n)


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.p, ctx.n, ctx.eps = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.set_materialize_grads(False)


def _grads(ctx, dout: Tensor, *_: None):
    grad, taps, heads, dnorm = _core_backward(dout.contiguous(), *ctx.saved_tensors, ctx.p, ctx.n, ctx.eps)
    return grad, taps[:-1].t(), taps[-1], heads[0], heads[1], heads[2], dnorm, None, None, None, None


_core.register_autograd(_grads, setup_context=_save)


def fused(zxBCdt: Tensor, w: Tensor, bias: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, norm: Tensor, seg: Tensor, headdim: int, d_state: int, eps: float) -> Tensor:
    """zxBCdt (b,t,..), what in_proj gives; w (channels,1,4) and bias of the convolution; dt_bias, A, D (h); norm's weight. The result is out_proj's input."""
    return _core(zxBCdt.contiguous(), w.float()[:, 0].contiguous(), bias.float(), dt_bias.float(), A.float(), D.float(), norm.float(), seg, headdim, d_state, eps)[0]


def takes(zxBCdt: Tensor, width: int, headdim: int, d_state: int) -> bool:
    return zxBCdt.is_cuda and zxBCdt.dtype == torch.bfloat16 and width == conv.WIDTH and ssd.takes(zxBCdt.shape[1], headdim, d_state)
