"""Keys and values of all rows in flight: allocated once, written by index, never grown.

Layout [layer, k|v, row, head, position, dim]; a `State` of the priors made of causal blocks. Knows
no positions of its own: the caller says where each row stands, and what that sees follows from it.
Positions that a row has not written hold finite numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Cache positions between two spans that a step may read, or a multiple of it, and how many spans at
# most: each is tried at start. On a GPU each is a graph, and few positions save next to nothing.
_SPANS = 64, 8
_CPU_SPANS = 16, 5


def reaches(
    start: int, num_steps: int, device: torch.device, dtype: torch.dtype
) -> tuple[int, ...]:
    """See Prior, for a cache that has the codes of the first step at position `start`."""
    last = num_steps - 1
    # The CPU's 16-bit products copy what isn't dense, which costs more than the cache's rest.
    if device.type == "cpu" and dtype.itemsize <= 2:
        return (last,)
    unit, most = _CPU_SPANS if device.type == "cpu" else _SPANS
    stride = unit * -(-(start + last) // (unit * most))
    ends = range(stride, start + last, stride)
    return (*(end - start for end in ends if end > start), last)


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """A prefilled prompt, as `Prefix` has it."""

    keys_values: Tensor  # [layer, 2, 1, H, N, dim]
    hidden: Tensor  # [1, E]


@dataclass(frozen=True, slots=True)
class Step:
    """Where the rows of one decode step stand, and what they see from there."""

    positions: Tensor  # [b] int64, cache positions
    mask: Tensor  # [b, 1, 1, span], 0 where a row may look and -inf elsewhere
    span: int


class KVCache:
    """Static cache of `num_rows` rows; `shape` is layers, heads, positions, width of a head."""

    def __init__(
        self,
        num_rows: int,
        shape: tuple[int, int, int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        layers, *row = shape
        # Zeros, not empty: masked positions are multiplied by weight 0, and 0 times NaN is NaN.
        self.data = torch.zeros((layers, 2, num_rows, *row), device=device, dtype=dtype)
        self._rows = torch.arange(num_rows, device=device)
        self._num_positions = shape[2]
        # Every row of the causal mask is a window of it: what is seen, then what is not.
        self._band = torch.zeros(2 * shape[2], device=device, dtype=dtype)
        self._band[shape[2] :] = -torch.inf

    def step(self, positions: Tensor, span: int) -> Step:
        """A causal step of rows that stand at `positions` [b], each below `span`."""
        mask = self._band.unfold(0, span, 1)[self._num_positions - 1 - positions]  # [b, span]
        return Step(positions, mask[:, None, None], span)

    def write(self, layer: int, keys_values: Tensor, positions: Tensor) -> None:
        """Store keys and values [2, b, H, dim] of one position [b] int64 in each of b rows."""
        num_rows = keys_values.shape[1]
        self.data[layer, :, self._rows[:num_rows], :, positions] = keys_values.transpose(0, 1)

    def read(self, layer: int, num_rows: int, span: int) -> tuple[Tensor, Tensor]:
        """Keys and values, [b, H, span, dim] each, of rows 0 .. num_rows-1."""
        keys, values = self.data[layer, :, :num_rows, :, :span]
        return keys, values

    def put(self, prefix: CachedPrefix, rows: Tensor) -> None:
        """See `State`: the prefix at the front of the rows, zeros behind it."""
        length = prefix.keys_values.shape[-2]
        self.data[:, :, rows, :, :length] = prefix.keys_values
        self.data[:, :, rows, :, length:] = 0

    def scramble(self, generator: torch.Generator) -> None:
        """See `State`."""
        row = torch.randn(self.data[:, :, :1].shape, generator=generator).to(self.data)
        self.data.copy_(row.expand_as(self.data))
