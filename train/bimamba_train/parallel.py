"""One process or many: plain, replicated (DDP) or sharded (FSDP2). Started by torchrun, or by nothing."""
from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .fbi import FBILinear
from .model import Model


class World:
    """This process's place among all, its device, and how the model is spread."""

    def __init__(self, mode: str = "auto") -> None:
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        local = int(os.environ.get("LOCAL_RANK", 0))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", local) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
        self.mode = ("ddp" if self.size > 1 else "single") if mode == "auto" else mode
        if self.mode not in ("single", "ddp", "fsdp"):
            raise ValueError(f"parallel {mode!r}: it is one of auto, single, ddp, fsdp")
        if self.mode == "single" and self.size > 1:
            raise ValueError("parallel single with several processes: each would train a model of its own")
        if self.mode != "single" and not dist.is_initialized():
            if "RANK" not in os.environ:
                raise ValueError(f"parallel {self.mode} is started by torchrun")
            dist.init_process_group("nccl" if cuda else "gloo")

    @property
    def first(self) -> bool:
        return self.rank == 0

    def spread(self, model: Model) -> nn.Module:
        if self.mode == "ddp":
            return nn.parallel.DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)
        if self.mode == "fsdp":
            _shard(model, self.device)
        return model

    @contextlib.contextmanager
    def accumulate(self, model: nn.Module, last: bool) -> Iterator[None]:
        """Gradients are exchanged behind the last batch of a step only."""
        if self.mode == "ddp" and not last:
            with model.no_sync():  # type: ignore[operator]
                yield
            return
        if self.mode == "fsdp":
            model.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield

    def sum(self, x: Tensor) -> Tensor:
        if self.mode != "single":
            dist.all_reduce(x)
        return x

    def agree(self, flag: bool) -> bool:
        """Whether any process says so."""
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    def states(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
        """(weights, optimizer's state), whole, on the CPU; in the first process only when sharded."""
        if self.mode == "fsdp":
            from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

            return get_state_dict(model, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        inner = model.module if self.mode == "ddp" else model
        return {k: v.cpu() for k, v in inner.state_dict().items()}, optimizer.state_dict()

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, weights: dict[str, Any], state: dict[str, Any]) -> None:
        if self.mode == "fsdp":
            from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

            set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state, options=StateDictOptions(full_state_dict=True))
            return
        (model.module if self.mode == "ddp" else model).load_state_dict(weights)
        optimizer.load_state_dict(state)

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """Whole weights on the CPU; empty in processes other than the first when sharded."""
        if self.mode == "fsdp":
            from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

            return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        inner = model.module if self.mode == "ddp" else model
        return {k: v.detach().cpu() for k, v in inner.state_dict().items()}

    def clip(self, model: nn.Module, limit: float) -> Tensor:
        norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def close(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()


def _shard(model: Model, device: torch.device) -> None:
    """FSDP2: layer by layer. On a GPU the projections travel and compute in bf16; the small tensors, where a bit counts, in float32."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if device.type == "cuda" else MixedPrecisionPolicy()
    for layer in model.backbone.layers:
        for m in layer.modules():
            if isinstance(m, (FBILinear, nn.Linear)):
                fully_shard(m, mp_policy=half)
        fully_shard(layer)
    fully_shard(model)
