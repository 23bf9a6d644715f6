"""What only a GPU can run. Skipped elsewhere."""
from __future__ import annotations

import unittest
import unittest.mock

import torch

from bimamba_train import model, ssd


@unittest.skipUnless(torch.cuda.is_available() and model.own_kernel is not None, "needs a GPU with Triton")
class Kernel(unittest.TestCase):
    def check(self, b: int, t: int, h: int, p: int, g: int, n: int, texts: bool) -> None:
        torch.manual_seed(t)
        rand = lambda *s: torch.randn(*s, device="cuda")  # noqa: E731
        A = -torch.rand(h, device="cuda") * 4
        seg = torch.sort(torch.randint(0, 6, (b, t), device="cuda"), 1).values if texts else None
        leaves = [rand(b, t, h, p).bfloat16(), torch.rand(b, t, h, device="cuda") * 0.5, A, rand(b, t, g, n).bfloat16(), rand(b, t, g, n).bfloat16()]
        dy = rand(b, t, h, p)
        results = []
        for kind in (torch.float64, torch.bfloat16):
            v = [(x.double() if kind == torch.float64 else x).detach().requires_grad_() for x in leaves]
            x, dt, a, B, C = v
            y = ssd.recurrence(x, dt, a, B, C, seg) if kind == torch.float64 else model.own_kernel.fused(x, dt, a, B, C, seg)
            y.backward(dy.to(y.dtype))
            results.append([y.detach().double(), *(q.grad.double() for q in v)])
        for name, want, have in zip(("y", "dx", "ddt", "dA", "dB", "dC"), *results):
            error = ((have - want).norm() / want.norm()).item()
            self.assertLess(error, 0.02, f"{name} at {b, t, h, p, g, n, texts}")

    def test_against_the_recurrence(self) -> None:
        for texts in (False, True):
            self.check(2, 130, 4, 64, 1, 64, texts)
            self.check(1, 64, 4, 32, 2, 128, texts)
            self.check(3, 300, 2, 16, 1, 16, texts)

    def test_convolution(self) -> None:
        torch.manual_seed(3)
        conv = model.Conv(200, 4).cuda()
        x = torch.randn(3, 70, 500, device="cuda")[..., 100:300]  # a view, as the mixer's is
        for seg in (None, torch.sort(torch.randint(0, 9, (3, 70), device="cuda"), 1).values):
            results = []
            for kernel in (None, model.conv_kernel):
                with unittest.mock.patch.object(model, "conv_kernel", kernel):
                    v = x.detach().requires_grad_()
                    conv.zero_grad()
                    y = conv(v, seg)
                    (y * torch.arange(200, device="cuda") / 100).sum().backward()
                    results.append((y.detach(), v.grad, conv.weight.grad.clone(), conv.bias.grad.clone()))
            for want, have in zip(*results):
                self.assertLess(((have - want).norm() / want.norm()).item(), 1e-5)


if __name__ == "__main__":
    unittest.main()
