"""What it takes to check one recorded array: how it is computed again, how near it must come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from models.verify.recorded import Recorded
from models.verify.subject import Subject

LOGITS = PIXELS = 2e-4  # float32 on a CPU, against another implementation


@dataclass(frozen=True, slots=True)
class Tie:
    """Where a code's recorded margin over the next best is below `least`, both are right."""

    margins: str  # the array of them
    least: float
    does_spread: bool = False  # codes that follow in the row follow from that one
    row_axes: int = 1  # axes in front that tell rows apart


@dataclass(frozen=True, slots=True)
class Check:
    """Of one array. Numbers may be off by `tolerance`, codes not at all but at a tie."""

    compute: Callable[[Subject], Tensor]
    inputs: tuple[str, ...] = ()  # other arrays that it starts from
    tolerance: float = LOGITS
    tie: Tie | None = None
    align: Callable[[NDArray[Any], Recorded], NDArray[Any]] | None = None  # before the comparison
