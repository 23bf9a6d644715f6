"""What is minimised: cross-entropy against the text, against a teacher's soft labels (autoregressive distillation), or a mix."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def per_token(logits: Tensor, targets: Tensor, soft: Tensor | None, mix: float) -> Tensor:
    """Loss of each position, (b,t), in float32.

    logits (b,t,rows); targets (b,t); soft (b,t,rows), the teacher's probabilities, or None. mix is the weight of the teacher's part:
    1 is the paper's loss, 0 ignores the teacher.
    """
    log_probs = F.log_softmax(logits.float(), -1)
    # As a sum, not by an index: compiled, that is one pass with the others, forward and backward.
    other = torch.arange(logits.shape[-1], device=logits.device) != targets.unsqueeze(-1)
    ce = -log_probs.masked_fill(other, 0.0).sum(-1)
    if soft is None or mix == 0:
        return ce
    kd = -(soft.float() * log_probs).sum(-1)
    return kd if mix == 1 else mix * kd + (1 - mix) * ce


def total(logits: Tensor, targets: Tensor, weights: Tensor, soft: Tensor | None, mix: float) -> Tensor:
    """Weighted sum over positions; the caller divides by the weights of the whole batch."""
    return (per_token(logits, targets, soft, mix) * weights).sum()
