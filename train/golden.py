"""Golden outputs of a checkpoint for the Go tests: golden.py CHECKPOINT OLD_GOLDEN NEW_GOLDEN BIMAMBA

In float32 on a CPU, none of it shared with the Go program but the tokenizer. Prompts and sequences are those of the old file.
"""
from __future__ import annotations

import json
import subprocess
import sys

import torch
import torch.nn.functional as F

from bimamba_train import checkpoint, model

LONGEST = 80


class Stepper:
    """The model token by token: the recurrence as it is defined, for rows side by side."""

    def __init__(self, m: model.Model, rows: int) -> None:
        c = m.c
        if c.ngroups != 1:
            raise ValueError("one group of B and C is all that is known here")
        self.m = m
        self.weights = [[p.effective_weight() if hasattr(p, "wscale") else p.weight for p in (x.mixer.in_proj, x.mixer.out_proj)] for x in m.backbone.layers]
        self.inputs = torch.zeros(c.n_layer, rows, c.conv_dim, c.d_conv)  # of the convolution, the newest last
        self.state = torch.zeros(c.n_layer, rows, c.nheads, c.headdim, c.d_state)

    @torch.no_grad()
    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """ids (rows) to logits (rows, vocabulary)."""
        m, c = self.m, self.m.c
        h = m.backbone.embedding(ids)
        for i, (layer, (w_in, w_out)) in enumerate(zip(m.backbone.layers, self.weights)):
            x = layer.mixer
            z, xBC, dt = F.linear(layer.norm(h), w_in).split([c.d_inner, c.conv_dim, c.nheads], -1)
            self.inputs[i] = torch.cat([self.inputs[i][..., 1:], xBC.unsqueeze(-1)], -1)
            xBC = F.silu((self.inputs[i] * x.conv1d.weight[:, 0]).sum(-1) + x.conv1d.bias)
            v, B, C = xBC.split([c.d_inner, c.d_state, c.d_state], -1)
            v = v.view(-1, c.nheads, c.headdim)
            dt = F.softplus(dt + x.dt_bias)
            keep = torch.exp(-dt * torch.exp(x.A_log))
            self.state[i] = keep[..., None, None] * self.state[i] + (dt.unsqueeze(-1) * v).unsqueeze(-1) * B[:, None, None]
            y = (self.state[i] * C[:, None, None]).sum(-1) + x.D.unsqueeze(-1) * v
            h = h + F.linear(x.norm(y.flatten(1) * F.silu(z)), w_out)
        return F.linear(m.backbone.norm_f(h), m.head)


def main() -> None:
    folder, old, new, bimamba = sys.argv[1:]
    torch.set_flush_denormal(True)  # states that fade away would take most of the time
    with open(old) as f:
        golden = json.load(f)
    golden["note"] = "float32, PyTorch (train/golden.py); prompt ids = [<|task|>] + BPE(utterance) + [<|reply|>]; end of reply is <|endoftext|> = 0"
    m = checkpoint.load_model(folder, chunk=32).eval()
    for layer in m.binarized().values():
        weight = layer.effective_weight().detach()
        layer.effective_weight = lambda w=weight: w  # type: ignore[method-assign]
    cases = golden["cases"]
    rows: list[list[int]] = [list(c["prompt_ids"]) for c in cases]
    margins, tops, ended = [float("inf")] * len(rows), [None] * len(rows), [False] * len(rows)
    stepper = Stepper(m, len(rows))
    for at in range(max(map(len, rows)) + LONGEST):
        logits = stepper.step(torch.tensor([r[min(at, len(r) - 1)] for r in rows]))
        for i, (c, ids) in enumerate(zip(cases, rows)):
            if ended[i] or at < len(c["prompt_ids"]) - 1:
                continue
            values, best = torch.topk(logits[i], 5)
            tops[i] = tops[i] or [[k, round(v, 5)] for k, v in zip(best.tolist(), values.tolist())]
            margins[i] = min(margins[i], (values[0] - values[1]).item())
            if best[0] == 0 or len(ids) - len(c["prompt_ids"]) == LONGEST:
                ended[i] = True
            else:
                ids.append(int(best[0]))
        if all(ended):
            break
    for i, c in enumerate(cases):
        out = rows[i][len(c["prompt_ids"]) :]
        command = [bimamba, "tokenize", "--tokenizer", f"{folder}/tokenizer.json", "--decode"]
        text = subprocess.run(command, input=" ".join(map(str, out)), capture_output=True, text=True, check=True).stdout
        c.update(first_token_top5=tops[i], greedy_ids=out, text=text, smallest_margin=round(margins[i], 5))
    total, tokens = 0.0, 0
    for s in golden["nll"]:
        with torch.no_grad():
            row = m(torch.tensor([s["ids"]]))[0]
        n = len(s["ids"])
        p = torch.log_softmax(row[: n - 1].double(), -1)
        s["nll"] = round(-p.gather(-1, torch.tensor(s["ids"])[1:, None]).sum().item(), 5)
        total += s["nll"]
        tokens += n - 1
    golden["perplexity"] = torch.tensor(total / tokens).double().exp().item()
    with open(new, "w") as f:
        json.dump(golden, f, ensure_ascii=False, separators=(",", ":"))
    print(json.dumps({"perplexity": golden["perplexity"], "smallest_margin": min(c["smallest_margin"] for c in golden["cases"])}))


if __name__ == "__main__":
    main()
