"""In which numbers a model computes while it trains; weights, losses and updates stay float32.

Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps

import torch
from torch import Tensor, nn

PRECISIONS: dict[str, torch.dtype | None] = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def autocast(dtype: torch.dtype | None, device: str = "cpu") -> AbstractContextManager[object]:
    """Inside, products and convolutions are computed in `dtype`; None: in that of the weights."""
    return torch.autocast(device, dtype, enabled=dtype is not None)


def exact(device: str = "cpu") -> AbstractContextManager[object]:
    """What stands inside an `autocast` and is computed in its own numbers all the same."""
    return torch.autocast(device, enabled=False)


def lower(module: nn.Module, dtype: torch.dtype | None) -> None:
    """Let one part of a model compute in `dtype`; what it returns is float32 as before.

    For parts between which precision counts: a codec's encoder and decoder, not its codes.
    """
    if dtype is None:
        return
    forward: Callable[..., Tensor] = module.forward

    @wraps(forward)
    def lowered(*inputs: Tensor) -> Tensor:
        with autocast(dtype, inputs[0].device.type):
            return forward(*inputs).float()

    module.forward = lowered  # this instance's alone
