"""In which order the codes of a square grid are drawn; all but raster are taming-transformers'.

Each function gives, for the codes in the order in which they are drawn, their raster places. Knows
no model and no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import get_args

import numpy as np

from models.configs.vqgan import CodeOrder


def raster_places(order: CodeOrder, side: int) -> list[int]:
    """Raster places of the codes of a side × side grid, in their order.

    Raises:
        ValueError: this order has no grid of such a side.
    """
    if side not in allowed_sides(order, side):
        raise ValueError(f"no {order} order of {side}×{side}")
    return _ORDERS[order](side)


def allowed_sides(order: CodeOrder, most: int) -> list[int]:
    """Sides up to `most` that grids in this order may have."""
    sides = range(1, most + 1)
    if order in ("subsample", "zcurve"):
        return [side for side in sides if side & (side - 1) == 0]
    if order.startswith("spiral"):
        return [side for side in sides if side % 2 == 0]
    return list(sides)


def _subsample(side: int) -> list[int]:
    """First one of every 2×2 cells, so far apart as can be, then their right neighbours, ..."""
    grids = np.arange(side**2).reshape(1, side, side)
    while grids.shape[1] > 1:
        half = grids.shape[1] // 2
        quarters = grids.reshape(-1, half, 2, half, 2).transpose(0, 2, 4, 1, 3)
        grids = quarters.reshape(-1, half, half)
    return [int(place) for place in grids.ravel()]


def _zcurve(side: int) -> list[int]:
    """By the bits of row and column in turn, the row's above the column's (Morton)."""

    def key(place: int) -> int:
        row, column = divmod(place, side)
        bits = range(side.bit_length())
        return sum((row >> bit & 1) << 2 * bit + 1 | (column >> bit & 1) << 2 * bit for bit in bits)

    return sorted(range(side**2), key=key)


def _spiral_out(side: int) -> list[int]:
    """From the middle: up, right, down, left, in runs of 1, 1, 2, 2, 3, 3, ..."""
    row, column = side // 2, side // 2 - 1
    places = [row * side + column]
    for turn, (down, right) in enumerate(cycle(((-1, 0), (0, 1), (1, 0), (0, -1)))):
        for _ in range(turn // 2 + 1):
            if len(places) == side**2:
                return places
            row, column = row + down, column + right
            places.append(row * side + column)
    raise AssertionError("the turns never end")


def _alternate(side: int) -> list[int]:
    """Rows to and fro."""
    rows = np.arange(side**2).reshape(side, side)
    rows[1::2] = rows[1::2, ::-1]
    return [int(place) for place in rows.ravel()]


def _random(side: int) -> list[int]:
    """NumPy's first generator with the seed 1, whose numbers are fixed for ever."""
    return [int(place) for place in np.random.RandomState(1).permutation(side**2)]


_ORDERS: dict[CodeOrder, Callable[[int], list[int]]] = {
    "raster": lambda side: list(range(side**2)),
    "subsample": _subsample,
    "zcurve": _zcurve,
    "spiral-out": _spiral_out,
    "spiral-in": lambda side: _spiral_out(side)[::-1],
    "random": _random,
    "alternate": _alternate,
}
assert _ORDERS.keys() == set(get_args(CodeOrder))
