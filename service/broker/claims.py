"""A worker's claim on a job, or on a part of one, and what the queue says of it. Knows no Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Self

from service.broker.parts import range_of
from service.jobs import Job, Progress


@dataclass(frozen=True, slots=True)
class Claim:
    """A job, or a part of one, that this worker may run until its lease ends.

    `fence` grows with every claim of the job. `attempt` is 1 the first time. `remaining_s` is the
    time to the job's deadline and `waited_s` the time since it was accepted, both at the claim.
    An isolated one runs alone: start nothing beside it and claim nothing until it has ended.
    `source` is the picture that it begins with; None, too, where that is gone. `part` has the
    candidates that are claimed of a job in parts; attempt and isolation are then the part's.
    """

    job: Job
    fence: int
    attempt: int
    is_isolated: bool
    remaining_s: float
    waited_s: float
    source: bytes | None = None
    part: range | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any], body: bytes) -> Self:
        """From what the claim script tells of it."""
        return cls(
            job=Job.from_json(body),
            fence=values["fence"],
            attempt=values["attempt"],
            is_isolated=values["isolated"],
            remaining_s=values["remaining_ms"] / 1000,
            waited_s=values["waited_ms"] / 1000,
            part=range_of(values.get("part")),
        )

    @property
    def id(self) -> str:
        """Of this claim: another one of the same job, or of another part of it, has its own."""
        return f"{self.job.id}:{self.fence}"

    @property
    def candidates(self) -> range:
        """Those of the job that it begins with."""
        return range(self.job.first_candidates) if self.part is None else self.part

    def renewal(self, progress: Progress | None) -> list[str | int]:
        """What the renewing script takes of it."""
        at = progress or Progress(stage="prefill")
        return [self.job.id, self.fence, at.codes_done, at.codes_total, at.stage]


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a call of `claim` brought. `must_drain`: claim nothing more until no job runs here.

    `num_expired` jobs at the head of the queue were late, and ended in this call.
    """

    claims: tuple[Claim, ...]
    must_drain: bool
    num_expired: int


class LeaseState(StrEnum):
    """What a renewal found. All but HELD mean: evict the job's rows and forget the claim."""

    HELD = "held"
    LOST = "lost"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    OVER = "over"  # the job of a part has ended by what became of another part


class CrashEnd(IntEnum):
    """What became of a job, or part, whose attempt failed; false when the claim was stale."""

    STALE = 0
    WAITS_AGAIN = 1
    DEAD_LETTER = 2
