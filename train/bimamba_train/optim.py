"""AdamW and the schedule: warm-up, then half a cosine down to a fraction of the peak."""
from __future__ import annotations

import math

import torch
from torch import nn


def decays(name: str, p: nn.Parameter) -> bool:
    """Weight decay is for matrices: not for norms, biases, the state space's vectors, the convolution, scales and shifts, or the embedding."""
    return p.ndim >= 2 and not any(s in name for s in ("embedding", "conv1d", "wscale", "wbias"))


def adamw(model: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.95)) -> torch.optim.AdamW:
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in named if decays(n, p)], "weight_decay": weight_decay},
        {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
    ]
    cuda = all(p.is_cuda for _, p in named)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=cuda) if cuda else torch.optim.AdamW(groups, lr=lr, betas=betas)


def rate(step: int, progress: float, peak: float, warmup: int, floor: float) -> float:
    """Learning rate. progress runs from 0 to 1 over the run; floor is the fraction of peak that it ends at (the paper: 0.1)."""
    cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return peak * min(1.0, (step + 1) / max(1, warmup)) * cosine
