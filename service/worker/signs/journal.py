"""What steps and runs tell: to the metrics at once, to a job's trace when its run is let go.

Spans and stage seconds are those that the run was stamped with on its way. Called from several
threads. Knows no queue and no model.
"""

from __future__ import annotations

import time

from service.broker.claims import Claim
from service.jobs import STAGE_NAMES
from service.tracing.tracing import JobSpan, Tracing
from service.worker.handover import StepReport
from service.worker.run import Run
from service.worker.signs.meter import Meter


class Journal:
    """Of one worker."""

    def __init__(self, meter: Meter, tracing: Tracing) -> None:
        self.meter = meter
        self._tracing = tracing

    def claimed(self, claim: Claim) -> JobSpan:
        """A job came from the queue; what is returned goes with its run."""
        if claim.candidates.start == 0:  # the first part of a job has waited for all of it
            self.meter.claimed(claim.waited_s)
        return self._tracing.job(claim.job, attempt=claim.attempt, waited_s=claim.waited_s)

    def step(self, report: StepReport, num_rows: int, *, is_idle: bool) -> None:
        """The engine, of `num_rows` rows, has made a step; `is_idle`: nothing is left to step."""
        self.meter.step(report, num_rows)
        if report.seconds is not None:
            self._tracing.step(report.num_rows, report.num_runs)
        if is_idle:
            self._tracing.rest()

    def let_go(self, run: Run, outcome: str) -> None:
        """The run has left the worker: an outcome, or why it was let go."""
        now = time.monotonic()
        for span in run.spans:
            name = STAGE_NAMES[span.phase]
            self.meter.stage(name, span.seconds)
            run.trace.stage(name, span.seconds, ended_ago_s=now - span.ended)
        run.trace.end(outcome)
