"""How a model computes and how processes join their gradients: torch's own DDP, FSDP2, autocast.

Nothing here changes a weight's name, so every kind of run reads every other's checkpoints. Knows
no loss and no data.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from models.stage2.blocks import Block
from models.train.loop.processes import place


class Objective(nn.Module):
    """A model, and what is computed with it, as the one module that torch's engines wrap."""

    def __init__(self, model: nn.Module, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, *inputs: Any) -> Any:
        """What `compute` makes of any inputs."""
        return self.compute(*inputs)


@dataclass(frozen=True, slots=True)
class Engine:
    """What the options say of it.

    `precision` is what the model computes in (None: in that of its weights). With `shards` each
    process keeps a part of weights, gradients, averages and optimisers. With `recomputes` blocks
    compute their activations again in the backward pass; `compiles` them by torch.compile.
    """

    device: torch.device = field(default_factory=partial(torch.device, "cpu"))
    precision: torch.dtype | None = None
    shards: bool = False
    recomputes: bool = False
    compiles: bool = False

    @classmethod
    def usual_device(cls) -> torch.device:
        """This process's GPU, where there is one."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device

    def prepared(self, model: nn.Module, compute: Callable[..., Any]) -> nn.Module:
        """A module that does `compute`; after its backward pass gradients are those of all.

        Parameters of `model` are moved, and with `shards` become shards: make optimisers then.
        """
        objective = Objective(model.to(self.device), compute)
        blocks = [module for module in model.modules() if isinstance(module, Block)]
        for block in blocks:
            self._prepare_block(block)
        count = place()[1]
        if count == 1:
            return objective
        if not self.shards:
            # Heads of a text that has no weight get no gradients.
            return DistributedDataParallel(objective, find_unused_parameters=True)
        mesh = init_device_mesh(self.device.type, (count,))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(objective, mesh=mesh)
        return objective

    def _prepare_block(self, block: Block) -> None:
        if self.recomputes:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]  # this instance's alone
        if self.compiles:
            block.compile()


def unjoined(objective: nn.Module, *, is_last: bool) -> AbstractContextManager[object]:
    """While a batch's parts add up: the last alone joins gradients, where they are kept whole.

    Shards are joined part by part, for whole gradients would not fit.
    """
    if is_last or not isinstance(objective, DistributedDataParallel):
        return nullcontext()
    return objective.no_sync()


def whole(value: Tensor) -> Tensor:
    """All of a tensor that may be in shards; all processes ask together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def placed(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor where `like` is, in its shards if it has some; every process has all of it."""
    if not isinstance(like, DTensor):
        return value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
