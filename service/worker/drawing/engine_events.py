"""What the engine tells of a step: who entered, what is drawn, who left and why.

Plain data. Code tensors in it are on the CPU, so that any thread may read them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from service.jobs import Job

LeaveReason = Literal["cancelled", "expired", "lost", "crashed", "drained"]


@dataclass(frozen=True, slots=True)
class Entered:
    """Candidates of a run are in rows now and have their first codes.

    `prefill_s` is None when the prompt was prefilled for an earlier part. `is_join`: rows of other
    runs were in flight. `step` is the number of steps made before.
    """

    run_id: str
    job: Job
    num_candidates: int
    step: int
    is_join: bool
    is_truncated: bool
    prefill_s: float | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """Candidates that have all their codes, [n, T, D]; `is_last`: the run has no more of them."""

    run_id: str
    candidates: tuple[int, ...]
    codes: Tensor
    is_last: bool


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Codes so far of one candidate, [1, T, D], for partial picture number `index`."""

    run_id: str
    index: int
    candidate: int
    codes: Tensor
    num_drawn: int


@dataclass(frozen=True, slots=True)
class Left:
    """A run was taken out, with `num_codes` already drawn for its `num_rows` rows."""

    run_id: str
    reason: LeaveReason
    num_rows: int
    num_codes: int


@dataclass(frozen=True, slots=True)
class Refused:
    """This run can't be made at all; its neighbours go on. `message` may be shown to its caller."""

    run_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """An error that any of these runs may have caused; all of them are out.

    `num_codes` were drawn for the `num_rows` rows that they had.
    """

    run_ids: tuple[str, ...]
    failure: str
    num_rows: int
    num_codes: int


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The device ran out of memory; all runs that are left begin again on `num_rows` rows."""

    num_rows: int


Event = Entered | Drawn | Glimpse | Left | Refused | Crashed | OutOfMemory


@dataclass(slots=True)
class StepReport:
    """One step: its events, and how full the batch was. `seconds` is None if nothing moved."""

    events: list[Event] = field(default_factory=list)
    seconds: float | None = None
    num_rows: int = 0
    num_runs: int = 0
    num_codes: int = 0
