"""FBI-Linear, the state space, the model and the losses."""
from __future__ import annotations

import sys
import types
import unittest
import unittest.mock

import torch
import torch.nn.functional as F
from torch import Tensor

from bimamba_train import fbi, loss, model, optim, posttrain, ssd
from bimamba_train.shards import Batch

from . import common


class FBILinear(unittest.TestCase):
    def test_gradients_are_those_of_the_surrogate(self) -> None:
        """Straight-through: the gradient is that of a layer whose sign(W) is sign(W0) + (W - W0), by finite differences around W0."""
        for pattern in fbi.PATTERNS:
            torch.manual_seed(1)
            layer = fbi.FBILinear(5, 4, pattern).double()
            x, target = torch.randn(3, 5).double().requires_grad_(), torch.randn(3, 4).double()
            (layer(x) - target).square().sum().backward()
            w0 = layer.weight.detach().clone()
            leaves = {"weight": w0, "wscale": layer.wscale.detach().clone(), "wbias": layer.wbias.detach().clone(), "x": x.detach().clone()}

            def surrogate(v: dict[str, Tensor]) -> float:
                w = v["wscale"] * (torch.sign(w0) + (v["weight"] - w0)) + v["wbias"]
                return (F.linear(v["x"], w) - target).square().sum().item()

            for name, value in leaves.items():
                have = x.grad if name == "x" else getattr(layer, name).grad
                assert have is not None
                self.assertEqual(have.shape, value.shape)
                want = torch.zeros_like(value)
                for i in range(value.numel()):
                    ends = []
                    for step in (1e-6, -1e-6):
                        moved = value.clone()
                        moved.view(-1)[i] += step
                        ends.append(surrogate({**leaves, name: moved}))
                    want.view(-1)[i] = (ends[0] - ends[1]) / 2e-6
                self.assertLess((have - want).abs().max().item(), 1e-5 * want.abs().max().item(), f"{pattern} {name}")

    def test_starts_at_the_means(self) -> None:
        w = torch.tensor([[1.0, -2.0], [3.0, 6.0]])
        latent, scale, shift = fbi.binarize_weight(w, "column")
        self.assertEqual((scale.tolist(), shift.tolist()), ([[1.0, 4.0]], [[2.0, 2.0]]))
        self.assertTrue(torch.equal(scale * torch.sign(latent) + shift, w))  # two values a column are kept as they are

    def test_selection(self) -> None:
        m = model.Model(common.tiny(binarize=("*.layers.1.*.in_proj",)))
        self.assertEqual(list(m.binarized()), ["backbone.layers.1.mixer.in_proj"])
        self.assertRaisesRegex(ValueError, "diagonal", fbi.FBILinear, 2, 2, "diagonal")


class StateSpace(unittest.TestCase):
    def test_chunks_are_the_recurrence(self) -> None:
        torch.manual_seed(2)
        seg = torch.tensor([[0] * 3 + [1] * 14 + [2] + [3] * 11, [0] * 29])
        for groups, texts in ((1, None), (2, seg), (4, seg)):
            leaves = [torch.randn(2, 29, 4, 3), torch.rand(2, 29, 4), -3 * torch.rand(4), torch.randn(2, 29, groups, 5), torch.randn(2, 29, groups, 5)]
            dy = torch.randn(2, 29, 4, 3).double()
            for chunk in (4, 8, 32):
                both = []
                for f in (lambda *v: ssd.recurrence(*v, texts), lambda *v: ssd.chunked(*v, chunk, texts)):
                    v = [x.double().requires_grad_() for x in leaves]
                    y = f(*v)
                    (y.double() * dy).sum().backward()
                    both.append([y.detach().double(), *(x.grad for x in v)])
                for want, have in zip(*both):
                    self.assertLess(((have - want).norm() / want.norm()).item(), 1e-5, f"groups {groups}, chunk {chunk}")


class Model(unittest.TestCase):
    def test_packed_texts_do_not_see_each_other(self) -> None:
        torch.manual_seed(3)
        m = model.Model(common.tiny(ngroups=2)).eval()
        a, b = torch.randint(50, (1, 9)), torch.randint(50, (1, 13))
        together = m(torch.cat([a, b], 1), torch.tensor([[0] * 9 + [1] * 13]))
        self.assertLess((together - torch.cat([m(a), m(b)], 1)).abs().max().item(), 1e-4)

    def test_nothing_is_seen_ahead(self) -> None:
        torch.manual_seed(4)
        m = model.Model(common.tiny()).eval()
        ids = torch.randint(50, (1, 20))
        other = ids.clone()
        other[0, 12:] = (ids[0, 12:] + 7) % 50
        self.assertLess((m(ids) - m(other))[0, :12].abs().max().item(), 1e-5)
        self.assertGreater((m(ids) - m(other))[0, 12:].abs().max().item(), 1e-3)

    def test_recomputing_changes_nothing(self) -> None:
        grads = []
        for recompute in (False, True):
            torch.manual_seed(5)
            m = model.Model(common.tiny(recompute=recompute, dropout=0.2))
            torch.manual_seed(6)
            m(torch.randint(50, (2, 10))).square().sum().backward()
            grads.append([p.grad for p in m.parameters()])
        self.assertTrue(all(torch.allclose(a, b) for a, b in zip(*grads)))

    def test_kernels_of_mamba_ssm(self) -> None:
        """A stand-in for the package gets what its function takes, and its result is used."""
        calls = []

        def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, chunk_size: int, seq_idx: Tensor | None) -> Tensor:
            calls.append((chunk_size, None if seq_idx is None else seq_idx.dtype))
            return ssd.recurrence(x, dt, A, B, C, seq_idx)

        module = types.ModuleType("mamba_ssm.ops.triton.ssd_combined")
        module.mamba_chunk_scan_combined = scan  # type: ignore[attr-defined]
        names = ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton")
        with unittest.mock.patch.dict(sys.modules, {**{n: types.ModuleType(n) for n in names}, module.__name__: module}):
            self.assertIs(model._find_kernels()[0], scan)
        x, dt, A, B = torch.randn(1, 6, 2, 3), torch.rand(1, 6, 2), -torch.rand(2), torch.randn(1, 6, 1, 4)
        with unittest.mock.patch.object(model, "mamba_kernel", scan):
            gpu = unittest.mock.MagicMock(wraps=x)
            gpu.is_cuda = True
            with unittest.mock.patch.object(ssd, "recurrence", return_value="its result"):
                self.assertEqual(model._scan(gpu, dt, A, B, B, 4, torch.zeros(1, 6).long()), "its result")
        self.assertEqual(calls, [(4, torch.int32)])


class Losses(unittest.TestCase):
    def test_values(self) -> None:
        logits = torch.tensor([[[0.0, 1.0, 2.0]]])
        p = torch.softmax(logits[0, 0], 0)
        soft = torch.tensor([[[0.5, 0.25, 0.25]]])
        target = torch.tensor([[2]])
        ce, kd = -p[2].log(), -(soft[0, 0] * p.log()).sum()
        for mix, want in ((0.0, ce), (1.0, kd), (0.25, 0.25 * kd + 0.75 * ce)):
            self.assertAlmostEqual(loss.per_token(logits, target, soft, mix).item(), want.item(), places=6)
        self.assertAlmostEqual(loss.total(logits, target, torch.tensor([[3.0]]), None, 1.0).item(), 3 * ce.item(), places=5)

    def test_rate(self) -> None:
        self.assertAlmostEqual(optim.rate(0, 0, 1.0, 10, 0.1), 0.1)
        self.assertAlmostEqual(optim.rate(100, 0.5, 1.0, 10, 0.1), 0.55)
        self.assertAlmostEqual(optim.rate(100, 1.0, 1.0, 10, 0.1), 0.1)

    def test_decay_is_for_matrices(self) -> None:
        m = model.Model(common.tiny())
        self.assertEqual({n.split(".", 3)[3] for n, p in m.named_parameters() if optim.decays(n, p)}, {"mixer.in_proj.weight", "mixer.out_proj.weight"})


class PostTraining(unittest.TestCase):
    def test_gptq_is_closer_than_rounding(self) -> None:
        torch.manual_seed(7)
        w, x = torch.randn(40, 24), torch.randn(500, 24) @ torch.randn(24, 24)

        def error(latent: Tensor, scale: Tensor, shift: Tensor) -> float:
            return (x @ (scale * torch.sign(latent) + shift - w).t()).norm().item()

        self.assertLess(error(*posttrain.compensate(w, x.t() @ x, 0.01)), 0.9 * error(*fbi.binarize_weight(w, "column")))

    def test_models(self) -> None:
        torch.manual_seed(8)
        m = model.Model(common.tiny(binarize=()))
        b = Batch(torch.randint(50, (2, 20)), None, torch.ones(2, 19), 38)
        rounded = posttrain.rounding(m, model.PROJECTIONS)
        name = "backbone.layers.0.mixer.in_proj"
        self.assertTrue(torch.equal(rounded.binarized()[name].wbias, m.state_dict()[f"{name}.weight"].mean(0, keepdim=True)))
        q = posttrain.gptq(m, model.PROJECTIONS, [b])
        self.assertEqual(len(q.binarized()), 4)
        # m was changed to what q computes, layer by layer.
        self.assertLess((q.eval()(b.ids) - m(b.ids)).abs().max().item(), 1e-3)


if __name__ == "__main__":
    unittest.main()
