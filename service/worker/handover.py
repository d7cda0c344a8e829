"""What drawing hands on beside the run itself, and what a step tells of itself.

Plain data. Code tensors in it are on the CPU, so that any thread may read them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.worker.run import Run

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Drawn:
    """Candidates that have all their codes, [n, T, D]; `is_last`: the run has no more of them.

    `log_likelihoods` are the batch's of each.
    """

    run: Run
    candidates: tuple[int, ...]
    codes: Tensor
    log_likelihoods: tuple[float | None, ...]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Partial picture number `index` of a candidate: its codes so far, [1, T, D].

    With a `query` it is finished and shown coarser: these are the codes of its first depths only.
    Pictures add the image file, `data`.
    """

    run: Run
    index: int
    candidate: int
    codes: Tensor
    num_drawn: int
    data: bytes = b""
    query: str = ""

    @property
    def part(self) -> float:
        """How much of the picture is drawn, from the top."""
        return self.num_drawn / self.codes.shape[1]


@dataclass(frozen=True, slots=True)
class Left:
    """A run was taken out of the batch, with `num_codes` drawn for the `num_rows` rows it had."""

    run: Run
    num_rows: int
    num_codes: int


@dataclass(slots=True)
class StepReport:
    """One step: what came of it, in order, and how full the batch was.

    `ended` are runs whose end was decided here. `num_entered` candidates got a row and their first
    code; `num_joins` runs got their first beside rows of other runs. `shrunk` has the row count
    after each time that memory ran out. `seconds` is None when nothing moved.
    """

    made: list[Drawn | Glimpse] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    shrunk: list[int] = field(default_factory=list)
    num_entered: int = 0
    num_joins: int = 0
    num_crashes: int = 0
    seconds: float | None = None
    num_rows: int = 0
    num_runs: int = 0

    @property
    def num_drawn(self) -> int:
        """Candidates that got their last code."""
        return sum(len(item.candidates) for item in self.made if isinstance(item, Drawn))
