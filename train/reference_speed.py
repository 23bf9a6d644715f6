"""Tokens a second of the reference trainer's own model and step, to hold this one against: reference_speed.py train_reference.py

The reference is a script that trains when it is run, so its model's source is taken out of it; the step is the one of its function train,
on full batches of 1,024 rows of 64 tokens, its most frequent ones. It counts padding as tokens; so does this.
"""
import json
import math
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

source = open(sys.argv[1]).read()
shape = source[source.index("DM, NL") : source.index("torch.manual_seed")]
space = {"torch": torch, "nn": nn, "F": F, "math": math}
exec(shape + source[source.index("class Sign") : source.index("def train(")], space)
torch.backends.cuda.matmul.allow_tf32 = True
torch.set_float32_matmul_precision("high")


def speed(binary: bool, taught: bool, steps: int = 20) -> float:
    torch._dynamo.reset()
    model = space["LM"](binary).to("cuda")
    f = torch.compile(model, dynamic=False)
    teacher = torch.compile(space["LM"](False).to("cuda").eval(), dynamic=False) if taught else None
    opt = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    times = []
    for i in range(steps + 3):
        x, w = torch.randint(4096, (1024, 65), device="cuda"), torch.ones(1024, 64, device="cuda")
        torch.cuda.synchronize()
        begun = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            lg = f(x[:, :-1])
            per = F.cross_entropy(lg.float().flatten(0, 1), x[:, 1:].flatten(), reduction="none").view_as(w)
            if teacher is not None:
                with torch.no_grad():
                    tp = F.softmax(teacher(x[:, :-1]).float(), -1)
                per = 0.7 * -(tp * F.log_softmax(lg.float(), -1)).sum(-1) + 0.3 * per
        ((per * w).sum() / w.sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        if i >= 3:
            times.append(time.perf_counter() - begun)
    return 1024 * 64 / statistics.median(times)


print(json.dumps({"reference_full_precision_tokens_per_s": speed(False, False), "reference_student_with_teacher_tokens_per_s": speed(True, True), "device": torch.cuda.get_device_name()}))
