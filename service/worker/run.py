"""A run: one attempt at a part of a job. It travels from station to station until it is let go.

claims → sources → drawing → pictures → delivery. It carries what each of them needs to know and has
made of it, so that nobody looks a run up. Plain data: knows no queue, no model, and no torch when
it runs.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from service.jobs import STAGE_NAMES, Job, Outcome, Phase

if TYPE_CHECKING:  # what it carries for stations that know more than it does
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from models.drawing.forced import Forced
    from models.known import Known
    from models.pipeline import Prefix
    from service.broker.claims import Claim
    from service.tracing.tracing import JobSpan


DRAWING_PHASES: tuple[Phase, ...] = ("waiting", "prefill", "drawing")

LeaveReason = Literal["cancelled", "expired", "lost", "crashed", "drained"]


@dataclass(frozen=True, slots=True)
class TakenOut:
    """It ends without an outcome of its own; `failure` of one that crashed is the operator's.

    Cancelled, expired and lost are what the queue says: then the claim is not ours any more.
    """

    reason: LeaveReason
    failure: str = ""


End = Outcome | TakenOut


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a run's way, seconds on the clock of the engine."""

    phase: Phase
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Made:
    """A candidate's picture, [H, W, 3], its score and its codes, [T, D].

    `coarser` looks at it, by their queries, are made once it is known which candidates are kept.
    """

    pixels: NDArray[np.uint8]
    score: float | None
    codes: Tensor
    coarser: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Run:
    """One claim on its way. Times are on the engine's clock.

    Every field has one writer at a time, the station named over it; any thread may read it. Only
    `close` may be called from everywhere: the first call decides how the run ends, and each station
    drops what has its end at its inbox and at its next step.
    """

    # Claims, before anybody else sees it.
    claim: Claim
    candidates: range  # of the job's, those that this run makes
    codes_per_candidate: int
    claimed_at: float
    deadline: float
    trace: JobSpan

    # Claims, on the event loop.
    is_leased: bool = True  # false once it is let go: then nothing is to be told to the queue
    told_progress: int = 0  # how far it was when that was published last

    # Sources.
    known: Known | None = None  # of the picture that the job begins with

    # Drawing.
    waiting: list[int] = field(default_factory=list)  # candidates without a row, ascending
    rows: dict[int, int] = field(default_factory=dict)  # row → candidate
    prefix: Prefix | None = None
    is_truncated: bool = False  # its prompt
    drawing_since: float = math.inf  # the first time that it had rows
    num_glimpses: int = 0
    num_drawn: int = 0  # candidates that have all their codes
    codes_done: int = 0

    # Pictures.
    text: Tensor | None = None  # CLIP's features of the prompt
    pictures: dict[int, Made] = field(default_factory=dict)  # of candidates that may be kept

    # Whichever station something happens in; of a large job, two at a time add to it.
    spans: list[Span] = field(default_factory=list)

    # The station that has the run: drawing, as long as some of its candidates lack codes.
    _phase: Phase = "waiting"

    # Whoever is first.
    _end: End | None = None
    _deciding: threading.Lock = field(default_factory=threading.Lock)

    @property
    def job(self) -> Job:
        """What it is an attempt at."""
        return self.claim.job

    @property
    def id(self) -> str:
        """For log lines: another claim of the same job is another run."""
        return self.claim.id

    @property
    def forced(self) -> Forced | None:
        """The codes that are taken instead of drawn."""
        return None if self.known is None else self.known.forced

    @property
    def num_undrawn(self) -> int:
        """Candidates that need a row, or have one."""
        return len(self.candidates) - self.num_drawn

    @property
    def codes_total(self) -> int:
        """Codes of all its candidates, or of the most that it may come to draw."""
        may_grow = self.job.min_score is not None
        most = self.job.recipe.num_candidates if may_grow else len(self.candidates)
        return most * self.codes_per_candidate

    @property
    def is_enough(self) -> bool:
        """Whether the pictures made so far are all that the job needs, or all that it may have."""
        job = self.job
        if job.min_score is None or len(self.candidates) >= job.recipe.num_candidates:
            return True
        scores = [made.score for made in self.pictures.values()]
        return sum(s is not None and s >= job.min_score for s in scores) >= job.recipe.n

    def grow(self) -> None:
        """Let it draw as many candidates again as it began with; for the station that has it."""
        more = len(self.candidates) + self.job.first_candidates
        self.candidates = range(min(more, self.job.recipe.num_candidates))
        self.enter("waiting")

    @property
    def end(self) -> End | None:
        """How it ends, once that is decided."""
        return self._end

    @property
    def is_gone(self) -> bool:
        """True when nothing more is to be drawn or made for it."""
        return self._end is not None

    @property
    def phase(self) -> Phase:
        """Where it is. One that has its end, however it ends, has only that to be told."""
        return "commit" if self.is_gone else self._phase

    def enter(self, phase: Phase) -> None:
        """Note that a phase begins; for the station that has the run."""
        self._phase = phase

    def close(self, end: End) -> bool:
        """Decide how it ends; false when that was decided before."""
        with self._deciding:
            if self._end is not None:
                return False
            self._end = end
            return True

    def stamp(self, phase: Phase, began: float, ended: float) -> None:
        """Note how long a phase, or one part of it, lasted."""
        self.spans.append(Span(phase, began, ended))

    def timings_s(self) -> dict[str, float]:
        """Seconds of all that lies behind it, by the names that callers see."""
        seconds = {"queue_wait": self.claim.waited_s}
        for span in self.spans:
            name = STAGE_NAMES[span.phase]
            seconds[name] = seconds.get(name, 0.0) + span.seconds
        return {name: round(value, 6) for name, value in seconds.items()}

    def about(self) -> dict[str, object]:
        """What a log line says of it."""
        return {
            "job_id": self.job.id,
            "request_id": self.job.request_id,
            "trace_id": self.job.trace_id,
            "attempt": self.claim.attempt,
        }
