"""Masks, orders and position signals of pixel models, which follow from an array's name alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch

from models.configs.raw_pixels import drawing_order
from models.stage2.local_attention import plan_1d, plan_2d, timing
from models.stage2.masked_conv import conv_mask
from models.verify.check import LOGITS, Result
from models.verify.of_dmol import differing, judged
from models.verify.recorded import Recorded


def definitions(recorded: Recorded) -> Iterator[Result]:
    """Masks and orders that follow from their names alone."""
    for name in recorded.arrays:
        for pattern, compute in _DEFINITIONS.items():
            if found := re.fullmatch(pattern, name):
                numbers = tuple(int(n) for n in found.groups() if n.isdecimal())
                yield compute(recorded, name, numbers)


def _conv_mask(recorded: Recorded, name: str, numbers: tuple[int, ...]) -> Result:
    num_out, num_in, side, channels = numbers
    kind = cast(Any, name.split("_")[1])
    return differing(recorded, name, conv_mask(kind, (num_out, num_in, side, side), channels))


def _local_1d(recorded: Recorded, name: str, numbers: tuple[int, ...]) -> Result:
    return differing(recorded, name, plan_1d(*numbers).support)


def _local_2d(recorded: Recorded, name: str, numbers: tuple[int, ...]) -> Result:
    high, wide, *rest = numbers
    query, flange = (rest[0], rest[1]), (rest[2], rest[3])
    order = torch.tensor(drawing_order((high, wide), query))
    support, raster = plan_2d((high, wide), query, flange).support, order.argsort()
    return differing(recorded, name, support[raster][:, raster])


def _shift_2d(recorded: Recorded, name: str, numbers: tuple[int, ...]) -> Result:
    """Which cell each one is fed with, in raster order."""
    high, wide, *query = numbers
    order = torch.tensor(drawing_order((high, wide), (query[0], query[1])))
    is_fed = plan_2d((high, wide), (query[0], query[1]), (0, 0)).is_fed
    source = torch.full_like(order, -1)
    source[order[1:]] = torch.where(is_fed[1:], order[:-1], -1)
    return differing(recorded, name, source.view(high, wide))


def _t2t_timing(recorded: Recorded, name: str, _numbers: tuple[int, ...]) -> Result:
    rows, columns, width = recorded.arrays[name].shape
    return judged(recorded, name, timing((rows, columns), width), LOGITS)


_DEFINITIONS: dict[str, Callable[[Recorded, str, tuple[int, ...]], Result]] = {
    r"mask_([AB])_(\d+)_(\d+)_(\d+)_(\d+)": _conv_mask,
    r"t2t_local1d_L(\d+)_b(\d+)": _local_1d,
    r"t2t_local2d_h(\d+)_w(\d+)_q(\d+)x(\d+)_m(\d+)x(\d+)": _local_2d,
    r"t2t_shift2d_h(\d+)_w(\d+)_q(\d+)x(\d+)": _shift_2d,
    r"t2t_timing": _t2t_timing,
}
