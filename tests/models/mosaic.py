"""A codec that exists in tests only: a grid of plain colours, of any number of codes a cell.

Knows no prior. Those that draw its codes are in trio.py and ripple.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.views import View

CHANNELS = 3


@dataclass(frozen=True, slots=True)
class MosaicConfig:
    """`side` × `side` cells of `cell` × `cell` equal pixels."""

    side: int = 4
    cell: int = 4
    vocab_sizes: tuple[int, ...] = (8, 5, 3)

    @property
    def size(self) -> tuple[int, int]:
        return self.side * self.cell, self.side * self.cell

    @property
    def code_shape(self) -> tuple[int, int]:
        return self.side**2, len(self.vocab_sizes)

    @property
    def views(self) -> tuple[View, ...]:
        depth = len(self.vocab_sizes)
        return (View("level", "rough", 1), View("level", "whole", depth)) if depth > 1 else ()


class Mosaic(nn.Module):
    """A `Codec`: a cell's colour is the sigmoid of the sum of its codes' vectors."""

    def __init__(self, config: MosaicConfig) -> None:
        super().__init__()
        self.config = config
        self.code_shape = config.code_shape
        self.starts = [0, *accumulate(config.vocab_sizes)]
        self.book = nn.Embedding(sum(config.vocab_sizes), CHANNELS)

    def vectors(self, codes: Tensor, depth: int) -> Tensor:
        """Codes of one depth, any shape → [..., 3]."""
        found: Tensor = self.book(codes + self.starts[depth])
        return found

    def encode(self, pixels: Tensor) -> Tensor:
        left = F.avg_pool2d(pixels, self.config.cell).flatten(2).mT.logit(1e-4)  # [B, T, 3]
        codes = []
        for depth, (start, stop) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            nearest = torch.cdist(left, self.book.weight[start:stop]).argmin(-1)
            left = left - self.vectors(nearest, depth)
            codes.append(nearest)
        return torch.stack(codes, -1)

    def pixels(self, codes: Tensor) -> Tensor:
        sums = torch.stack([self.vectors(c, d) for d, c in enumerate(codes.unbind(-1))]).sum(0)
        cells = sums.sigmoid().mT.reshape(len(codes), CHANNELS, self.config.side, -1)
        return F.interpolate(cells, scale_factor=self.config.cell)

    def prepare(self) -> None:
        """Nothing to lay out."""
