"""What a position of DALL-E's sequence sees: N text tokens, then a grid of image cells.

Masks are computed where they are needed, from positions, for any text length and any grid; nobody
keeps a table of them. A text token sees the text before it; an image cell sees all of the text,
pads too, and of the cells up to itself what its `Mask` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.configs.dalle import Mask


def sees(mask: Mask, grid: tuple[int, int], query: Tensor, key: Tensor) -> Tensor:
    """Whether image cells see others, by their numbers in raster order, which are broadcast.

    Of (h, w) cells; those behind a cell are never seen. Sources: Ramesh et al. 2021, figure 11;
    ru-DALL-E v2 and v3; DALLE-pytorch.
    """
    height, width = grid
    around = mask.kernel // 2
    up = query // width - key // width
    left = query % width - key % width
    match mask.kind:
        case "full":
            is_near = torch.ones_like(up, dtype=torch.bool)
        case "row":
            is_near = query - key <= width
        case "column":
            is_near = is_in_line("column", grid, query, key)
        case "masked_row":
            is_near = is_in_line("row", grid, query, key)
        case "conv_v3":
            is_near = (up.abs() <= around) & (left.abs() <= around)
        case "conv_v2":
            is_near = (_around(up, height) <= around) & (_around(left, width) <= around)
        case "conv_like":
            is_near = (up < mask.kernel) & (left >= 0) & (left < mask.kernel)
    return is_near & (key <= query)


def is_in_line(
    axis: Literal["row", "column"], grid: tuple[int, int], query: Tensor, key: Tensor
) -> Tensor:
    """Whether cells lie in the same row or column, be it before or behind: "full row" and "column".

    No layer can have it by itself, since it sees later cells (Ho et al. 2019 give it rows that are
    drawn already).
    """
    width = grid[1]
    if axis == "row":
        return query // width == key // width
    return query % width == key % width


def _around(distance: Tensor, size: int) -> Tensor:
    """The shorter way between two places on a ring."""
    return torch.minimum(distance.abs(), size - distance.abs())


@dataclass(frozen=True, slots=True)
class SequenceMask:
    """A mask over a whole sequence: `num_text` tokens, then cells of a `grid`."""

    mask: Mask
    num_text: int
    grid: tuple[int, int]

    def over(self, num_positions: int, device: torch.device) -> Tensor:
        """Bool [P, P], query × key, for the first P positions."""
        at = torch.arange(num_positions, device=device)
        query, key = at[:, None], at
        start = self.num_text
        is_seen = (key < start) | sees(self.mask, self.grid, query - start, key - start)
        return is_seen & (key <= query)

    def sight(
        self, cells: Tensor, num_kept: int, num_slots: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Where rows at `cells` [b] write their keys, and what they see of those that are kept.

        Behind the text a cache keeps the latest `num_kept` cells: cell c in slot c mod `num_kept`.
        The first `num_slots` of them are read: all that may hold something.
        """
        slots = torch.arange(num_slots, device=cells.device)
        cell = cells[:, None]
        held = cell - (cell - slots) % num_kept  # the cell in each slot, below 0 for none
        is_seen = (held >= 0) & sees(self.mask, self.grid, cell, held)
        shown = torch.ones(len(cells), self.num_text, dtype=torch.bool, device=cells.device)
        is_seen = torch.cat((shown, is_seen), -1)
        hidden = torch.zeros(is_seen.shape, dtype=dtype, device=cells.device)
        hidden = hidden.masked_fill(~is_seen, -torch.inf)
        return self.num_text + cells % num_kept, hidden
