"""In which order a run sees things of which it shall see each once an epoch.

A position counts on over all epochs; what stands there depends on the seed alone, so any number of
processes that share a batch, and a run resumed in the middle of an epoch, see the same. Knows no
pictures.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random

import torch
from torch import Tensor


def at(positions: range, number: int, seed: int) -> list[int]:
    """Which of `number` things stand at these positions."""
    return [int(_order(number, seed, p // number)[p % number]) for p in positions]


@lru_cache(maxsize=2)  # a batch may lie in two epochs
def _order(number: int, seed: int, epoch: int) -> Tensor:
    bits = Random(f"{seed}/epoch {epoch}").getrandbits(62)
    return torch.randperm(number, generator=torch.Generator().manual_seed(bits))
