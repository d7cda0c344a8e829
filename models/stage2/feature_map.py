"""What convolutions remember of rows in flight: the last lines of maps of features.

A `Grid` says where the cells of a map of some width lie, a `FeatureMap` holds the features that a
network computed there. Lines are kept in a ring, behind borders of zeros, so that what a new pixel
does not change is read and not computed again (Ramachandran et al. 2017, "Fast generation for
convolutional autoregressive models"). Knows no network; a `Site` is one cell or one line per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Site:
    """Cells of a picture: row in the batch, line and column, broadcast against each other."""

    row: Tensor
    line: Tensor
    column: Tensor

    def halved(self) -> Site:
        """The same place at half the resolution, for single cells."""
        return Site(self.row, self.line // 2, self.column // 2)


def cells(places: Tensor, width: int) -> Site:
    """One cell [b] for each of the first b rows: raster places [b] of a picture."""
    return Site(torch.arange(len(places), device=places.device), places // width, places % width)


def whole_lines(rows: Tensor, lines: Tensor, width: int) -> Site:
    """One line [b, W] for each of some rows [b]."""
    column = torch.arange(width, device=rows.device)
    return Site(rows[:, None], lines[:, None], column[None])


class Grid:
    """The cells that maps of one resolution have: `height` lines of `width`, and borders."""

    def __init__(self, num_rows: int, height: int, width: int, border: int) -> None:
        self.num_rows, self.height, self.width, self.border = num_rows, height, width, border
        self.line_cells = width + 2 * border
        self.num_cells = num_rows * height * self.line_cells

    def at(self, site: Site) -> Tensor:
        """Indices of a site's own cells."""
        line = site.row * self.height + site.line % self.height
        return line * self.line_cells + site.column + self.border

    def around(self, site: Site, kernel: Tensor) -> Tensor:
        """Indices of what a kernel sees from a site, [..., k]; see `kernel_cells`."""
        line = (site.line[..., None] + kernel[:, 0]) % self.height
        column = site.column[..., None] + kernel[:, 1] + self.border
        return (site.row[..., None] * self.height + line) * self.line_cells + column


def kernel_cells(lines: range, columns: range, device: torch.device) -> Tensor:
    """Lines and columns [k, 2] from a cell to those that a kernel sees, line by line."""
    return torch.tensor([(i, j) for i in lines for j in columns], device=device).view(-1, 2)


class FeatureMap:
    """Features [cells, C] on a grid, zero where nothing was computed yet."""

    def __init__(self, grid: Grid, channels: int, like: Tensor) -> None:
        self.data = like.new_zeros(grid.num_cells, channels)
        self._by_row = self.data.view(grid.num_rows, -1)

    def write(self, at: Tensor, features: Tensor) -> None:
        """Features [..., C] of cells [...]."""
        self.data[at] = features.to(self.data.dtype)

    def read(self, at: Tensor) -> Tensor:
        """Of cells [...] → [..., C]; of what a kernel sees [..., k] take `window`."""
        return self.data[at]

    def window(self, around: Tensor) -> Tensor:
        """What a kernel sees from each cell [..., k] → [..., k * C]."""
        return self.data[around].flatten(-2)

    def put(self, one_row: FeatureMap, rows: Tensor) -> None:
        """Begin rows as that map's only row is."""
        self._by_row[rows] = one_row._by_row


def put_all(maps: Iterable[FeatureMap], begun: Iterable[FeatureMap], rows: Tensor) -> None:
    """Begin rows of many maps as their like with one row."""
    for own, one_row in zip(maps, begun, strict=True):
        own.put(one_row, rows)


def scramble_all(tensors: Iterable[Tensor], num_rows: int, generator: torch.Generator) -> None:
    """Fill state with random numbers, the same in every row; rows are the outermost part of it."""
    for tensor in tensors:
        by_row = tensor.view(num_rows, -1)
        drawn = torch.randn(by_row[:1].shape, generator=generator, dtype=torch.float32)
        by_row.copy_(drawn.to(tensor).expand_as(by_row))


def beginning_lines(places: Tensor, width: int) -> Sequence[Tensor]:
    """Rows whose place [b] is a line's first, as groups that are computed together.

    A CPU computes each alone: a product of the same shape, whatever stands beside it, and no work
    for the others. A step that is recorded on a device can't choose, so there all compute along.
    """
    if places.device.type != "cpu":
        return [torch.arange(len(places), device=places.device)]
    return [torch.tensor([row]) for row, at in enumerate(places.tolist()) if at % width == 0]
