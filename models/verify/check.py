"""What it takes to check a recorded number: how it is computed again, how near it must come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from models.verify.recorded import Recorded
from models.verify.subject import Subject

LOGITS = 2e-4  # and pixels: float32 on a CPU, against another implementation


@dataclass(frozen=True, slots=True)
class Result:
    """One array's verdict. `error` is the worst one; codes count the places that differ."""

    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def is_within(self) -> bool:
        """False for NaN, too."""
        return self.error <= self.tolerance


@dataclass(frozen=True, slots=True)
class Tie:
    """Where a code's recorded margin over the next best is below `least`, both are right.

    Codes that were chosen because of it are excused with it: the rest of the row [n, ...], or the
    later depths, the last axis.
    """

    margins: str  # the array of them
    least: float
    excuses: Literal["itself", "row", "depths"] = "itself"


@dataclass(frozen=True, slots=True)
class Check:
    """Of one array. Numbers may be off by `tolerance`, codes not at all but at a tie.

    Integers are codes unless they are said to be numbers.
    """

    compute: Callable[[Subject], Tensor]
    tolerance: float = LOGITS
    tie: Tie | None = None
    are_codes: bool = True
    align: Callable[[NDArray[Any], Recorded], NDArray[Any]] | None = None  # before the comparison


# Of what expected.json holds; AbsentError where it holds nothing of the kind.
Facts = Callable[[Subject], Iterator[Result]]

# Of numbers that belong to no checkpoint: those of a set that follow from a definition alone.
Formula = Callable[[Recorded], Iterator[Result]]
