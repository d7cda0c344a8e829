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


KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """A prefilled prompt, as `Prefix` has it."""

    keys_values: Tensor  # [layer, 2, 1, H, N, dim]
    hidden: Tensor  # [1, E]


@dataclass(frozen=True, slots=True)
class Step:
    """Where the rows of one decode step stand in a cache, and what they see from there.

    Found once for all layers: on few rows an operation takes a CPU longer to start than to do.
    """

    lines: Tensor  # [b, 2, H] int64, where each head's key and value are stored, see `write`
    mask: Tensor  # [b, H, 1, span], 0 where a row may look and -inf elsewhere
    span: int

    def first(self, num_rows: int) -> Step:
        """The same of rows 0 .. num_rows-1 alone."""
        return Step(self.lines[:num_rows], self.mask[:num_rows], self.span)


class KVCache:
    """Static cache of `num_rows` rows; `shape` is layers, heads, positions, width of a head."""

    def __init__(
        self,
        num_rows: int,
        shape: tuple[int, int, int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        layers, heads, length, _ = shape
        # Zeros, not empty: masked positions are multiplied by weight 0, and 0 times NaN is NaN.
        self.data = torch.zeros((layers, 2, num_rows, *shape[1:]), device=device, dtype=dtype)
        # A layer as lines of one head's key or value at one position, and where a row's begin.
        self._layers = [self.data[layer].flatten(0, -2) for layer in range(layers)]
        begins = torch.arange(0, 2 * num_rows * heads * length, length, device=device)
        self._begins = begins.view(2, num_rows, heads).transpose(0, 1)  # [row, k|v, head]
        self._seen: dict[tuple[int, int], list[KeysValues]] = {}
        # Every row of the causal mask is a window of it: what is seen, then what is not.
        self._band = torch.zeros(2 * length, device=device, dtype=dtype)
        self._band[length:] = -torch.inf
        self._num_positions = length

    def step(self, positions: Tensor, span: int) -> Step:
        """A causal step of rows that stand at `positions` [b], each below `span`."""
        return self.at(
            positions, self._band.unfold(0, span, 1)[self._num_positions - 1 - positions]
        )

    def at(self, positions: Tensor, hidden: Tensor) -> Step:
        """A step of rows that write at `positions` [b].

        They see the first positions where `hidden` [b, span] is 0, and not where it is -inf.
        """
        lines = self._begins[: len(positions)] + positions[:, None, None]
        mask = hidden[:, None, None].expand(-1, lines.shape[2], -1, -1)
        # Products of the CPU read it as it lies; a GPU's kernel reads one head's for all.
        return Step(lines, mask if mask.is_cuda else mask.contiguous(), hidden.shape[1])

    def write(self, layer: int, keys_values: Tensor, step: Step) -> None:
        """Store keys and values [b, 2, H, dim] of the position where each row stands."""
        self._layers[layer].index_put_((step.lines,), keys_values)

    def read(self, layer: int, num_rows: int, span: int) -> KeysValues:
        """Keys and values, [b, H, span, dim] each, of rows 0 .. num_rows-1."""
        views = self._seen.get((num_rows, span))
        if views is None:  # they stay where they are, so the views do
            parts = self.data[:, :, :num_rows, :, :span]
            views = self._seen[num_rows, span] = [(k, v) for k, v in parts]
        return views[layer]

    def put(self, prefix: CachedPrefix, rows: Tensor) -> None:
        """See `State`: the prefix at the front of the rows, zeros behind it."""
        length = prefix.keys_values.shape[-2]
        self.data[:, :, rows, :, :length] = prefix.keys_values
        self.data[:, :, rows, :, length:] = 0

    def scramble(self, generator: torch.Generator) -> None:
        """See `State`."""
        row = torch.randn(self.data[:, :, :1].shape, generator=generator).to(self.data)
        self.data.copy_(row.expand_as(self.data))
