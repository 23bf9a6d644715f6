"""Gradients of one batch: the forward and backward pass, which on one GPU are recorded as a CUDA graph and replayed, so that starting their kernels costs no time."""
from __future__ import annotations

import contextlib
from typing import Any, Callable

import torch
from torch import Tensor, nn

from .teacher import Teacher

WARM = 3  # batches before one is recorded: what is compiled is compiled by then


class Gradients:
    """Called with a batch, adds the gradients of its loss to the parameters' and returns that loss. Shapes are always those of the first batch.

    factor is what gradients are multiplied by. Recorded, gradients stay where they are: they are set to zero, not to None, between steps.
    """

    def __init__(self, model: nn.Module, teacher: Teacher | None, loss: Callable[..., Tensor], mix: float, bf16: bool, record: bool, factor: int = 1) -> None:
        self.model, self.teacher, self.loss, self.mix, self.bf16, self.factor = model, teacher, loss, mix, bf16, factor
        self.record, self._calls = record, 0
        self._stream: Any = torch.cuda.Stream() if record else None
        self._graph: Any = None

    def _direct(self, ids: Tensor, seg: Tensor | None, weights: Tensor, whole: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16) if self.bf16 else contextlib.nullcontext():
            inputs, seg = ids[:, :-1], seg[:, :-1] if seg is not None else None
            soft = self.teacher.labels(inputs, seg) if self.teacher else None
            value = self.loss(self.model(inputs, seg), ids[:, 1:], weights, soft, self.mix) / whole
        (value * self.factor).backward()
        return value.detach()

    def __call__(self, ids: Tensor, seg: Tensor | None, weights: Tensor, whole: Tensor) -> Tensor:
        """ids, seg (b,t+1), weights (b,t); whole is the sum of the weights of all the step's batches."""
        given = (ids, seg, weights, whole)
        if not self.record:
            return self._direct(*given)
        if self._graph is not None:
            for to, v in zip(self._inputs, given):
                if v is not None:
                    to.copy_(v)
        else:
            self._calls += 1
            here = torch.cuda.current_stream()
            self._stream.wait_stream(here)
            with torch.cuda.stream(self._stream):
                if self._calls <= WARM:
                    value = self._direct(*given)
                else:
                    self._record(given)
            here.wait_stream(self._stream)
            if self._graph is None:
                return value
        self._graph.replay()
        return self._value.clone()

    def _record(self, given: tuple[Tensor | None, ...]) -> None:
        self._inputs = [None if v is None else v.clone() for v in given]
        graph = torch.cuda.CUDAGraph()
        # The loader's threads may call CUDA meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._value = self._direct(*self._inputs)
        self._graph = graph
