"""Channels of a pixel one after the other: which features of a masked network belong to each.

Features belong to the channels in turn, so that a channel's are a slice; what an earlier channel
computed stays as it is. Knows no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Group:
    """The features of channel `number`."""

    number: int
    part: slice


class Grouped:
    """A product whose outputs are computed group by group, from features [b, C] of all."""

    def __init__(self, weight: Tensor, bias: Tensor | None, channels: int) -> None:
        self._parts = [
            (weight[g::channels].contiguous(), None if bias is None else bias[g::channels])
            for g in range(channels)
        ]

    def of(self, x: Tensor, group: Group) -> Tensor:
        """The group's outputs [b, C' / channels]."""
        return F.linear(x, *self._parts[group.number])


def every_group(channels: int) -> Iterator[Group]:
    """In the order in which channels are drawn."""
    return (Group(number, slice(number, None, channels)) for number in range(channels))


def scaled_levels(values: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """Levels, of at least two → -1..1."""
    return values.to(dtype) * (2 / (levels - 1)) - 1


def as_pictures(codes: Tensor, height: int) -> Tensor:
    """Levels [B, T, C] in raster order → [B, C, H, W]."""
    return torch.unflatten(codes.mT, -1, (height, -1))
