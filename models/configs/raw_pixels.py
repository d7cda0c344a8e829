"""The shape of pictures that are drawn as their own values, and the order of drawing them.

Knows no torch and no prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.configs.numbers import Size
from models.configs.views import View

NUM_BYTES = 256


@dataclass(frozen=True, slots=True)
class RawPixelsConfig:
    """A codec without weights: a picture's codes are its values.

    A step is a pixel and its depths are the channels, or with `by_channel` a channel of a pixel
    alone. With `block` (rows, columns) one block after another is drawn, in steps. Its `num_levels`
    values are spread over 0..1.
    """

    height: Size = 32
    width: Size = 32
    channels: Literal[1, 3] = 3
    num_levels: Size = NUM_BYTES
    by_channel: bool = False
    block: tuple[Size, Size] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """See CodecConfig."""
        return self.width, self.height

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of steps."""
        return self.height, self.width * (self.channels if self.by_channel else 1)

    @property
    def code_shape(self) -> tuple[int, int]:
        """See CodecConfig."""
        return self.grid[0] * self.grid[1], 1 if self.by_channel else self.channels

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See CodecConfig."""
        return (self.num_levels,) * self.code_shape[1]

    @property
    def views(self) -> tuple[View, ...]:
        """See CodecConfig."""
        return ()


def drawing_order(grid: tuple[int, int], block: tuple[int, int] | None) -> list[int]:
    """Raster place of each step of a grid: raster itself, or one block after another."""
    rows, columns = grid
    high, wide = block or (1, columns)

    def key(place: int) -> tuple[int, ...]:
        row, column = divmod(place, columns)
        return row // high, column // wide, row % high, column % wide

    return sorted(range(rows * columns), key=key)
