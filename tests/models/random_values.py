"""Random numbers for an official file's tensors, whatever the family."""

from __future__ import annotations

import torch
from torch import Tensor

from models.errors import Shape


def spread_values(needed: dict[str, Shape], generator: torch.Generator) -> dict[str, Tensor]:
    """Spread values that keep activations near 1: gains around 1, weights by their width."""
    state = {}
    for key, shape in needed.items():
        values = torch.empty(shape).normal_(generator=generator)
        if len(shape) == 1:
            values.mul_(0.1).add_(1 if key.endswith("weight") else 0)
        elif "codebooks" in key or "quantize" in key:
            values.mul_(0.5)
        elif "emb" in key:
            values.mul_(0.1)
        else:
            is_per_depth = key == "classifier.linear.weight" and len(shape) == 3
            fan_in = shape[1] if is_per_depth or len(shape) == 2 else values[0].numel()
            values.mul_(fan_in**-0.5)
        state[key] = values
    return state
