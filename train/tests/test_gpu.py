"""What only a GPU can run. Skipped elsewhere."""
from __future__ import annotations

import dataclasses
import os
import tempfile
import unittest
import unittest.mock

import torch
from torch import Tensor

from bimamba_train import log, loop, model

from . import common


def texts(b: int, t: int) -> Tensor:
    return torch.sort(torch.randint(0, 6, (b, t), device="cuda"), 1).values


@unittest.skipUnless(torch.cuda.is_available() and model.core_kernel is not None, "needs a GPU with Triton")
class Kernels(unittest.TestCase):
    """Against the plain code in float32."""

    def far(self, have: Tensor, want: Tensor) -> float:
        return ((have.float() - want).norm() / want.norm()).item()

    def core(self, b: int, t: int, seg: Tensor | None, **shape: int) -> None:
        torch.manual_seed(t)
        c = model.Config(n_layer=1, vocab_size=16, binarize=(), chunk=32, **shape)
        mixer = model.Mixer(c, "").cuda()
        with torch.no_grad():
            for p in mixer.parameters():  # nothing stays at its tidy start
                p.add_(0.1 * torch.randn_like(p))
        zxBCdt = torch.randn(b, t, c.d_inner + c.conv_dim + c.nheads, device="cuda").bfloat16()
        dy = torch.randn(b, t, c.d_inner, device="cuda").bfloat16()
        self.assertTrue(model.core_kernel.takes(zxBCdt, c.d_conv, c.headdim, c.d_state))
        results = []
        for plain in (True, False):
            none = None if plain else model.core_kernel
            with unittest.mock.patch.object(model, "core_kernel", none), unittest.mock.patch.object(model, "conv_kernel", None):
                v = (zxBCdt.float() if plain else zxBCdt).detach().requires_grad_()
                mixer.zero_grad()
                y = mixer.core(v, seg)
                y.backward(dy.to(y.dtype))
                assert v.grad is not None
                parts = zip(("dz", "dxBC", "ddt"), v.grad.float().split([c.d_inner, c.conv_dim, c.nheads], -1))
                results.append({"y": y.detach().float(), **dict(parts), **{n: p.grad.clone() for n, p in mixer.named_parameters() if p.grad is not None}})
        self.assertEqual(len(results[0]), 10)
        for name, want in results[0].items():
            self.assertLess(self.far(results[1][name], want), 0.02, f"{name} at {b, t, shape}, texts {seg is not None}")

    def test_core(self) -> None:
        for b, t, seg in ((5, 128, None), (5, 128, texts(5, 128)), (3, 70, texts(3, 70))):
            self.core(b, t, seg, d_model=128, d_state=64, headdim=64)
        self.core(2, 100, texts(2, 100), d_model=128, d_state=128, headdim=32, ngroups=2)
        self.core(3, 20, texts(3, 20), d_model=64, d_state=16, headdim=16)
        self.core(2, 300, texts(2, 300), d_model=64, d_state=16, headdim=16)

    def test_convolution(self) -> None:
        torch.manual_seed(3)
        conv = model.Conv(200, 4).cuda()
        for t in (1, 2, 70, 300):
            x = torch.randn(5, t, 500, device="cuda")[..., 100:300]  # a view, as the mixer's is
            for seg in (None, texts(5, t)):
                results = []
                for kernel in (None, model.conv_kernel):
                    with unittest.mock.patch.object(model, "conv_kernel", kernel):
                        v = x.detach().requires_grad_()
                        conv.zero_grad()
                        y = conv(v, seg)
                        (y * torch.arange(200, device="cuda") / 100).sum().backward()
                        results.append((y.detach(), v.grad, conv.weight.grad.clone(), conv.bias.grad.clone()))
                for want, have in zip(*results):
                    self.assertLess(self.far(have, want), 1e-5, f"{t} tokens, texts {seg is not None}")

    def test_recorded_is_direct(self) -> None:
        """A run whose batches are replayed has the losses of one whose kernels are started one by one, teacher and several batches a step included."""
        with tempfile.TemporaryDirectory() as d:
            shard, losses = common.data(os.path.join(d, "x.tok")), []
            loop.run(common.run_settings(shard, steps=1), os.path.join(d, "t"), quiet=True)
            for graph in (False, True):
                s = common.run_settings(shard, steps=12, graph=graph, teachers=[os.path.join(d, "t/model")], mix=0.5)
                s = dataclasses.replace(s, model=dataclasses.replace(s.model, dropout=0.0))
                out = os.path.join(d, str(graph))
                loop.run(s, out, quiet=True)
                losses.append([float(r["loss"]) for r in log.read(os.path.join(out, "log.csv"))])
        self.assertLess(losses[0][-1], losses[0][0])
        for a, b in zip(*losses):
            self.assertAlmostEqual(a, b, delta=0.01 * a)


if __name__ == "__main__":
    unittest.main()
