"""Spans of the jobs that a worker holds, by run, from what the worker's parts tell.

Called from several threads. Knows no queue and no model.
"""

from __future__ import annotations

import time

from service.jobs import Job
from service.tracing.tracing import JobSpan, Tracing
from service.worker.drawing.engine_events import Drawn, Entered, StepReport


class JobTraces:
    """Begin a run, tell its stages, end it once; what comes for an ended run is let pass."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._spans: dict[str, JobSpan] = {}
        self._entered_at: dict[str, float] = {}

    def begin(self, run_id: str, job: Job, *, attempt: int, waited_s: float) -> None:
        """The job was claimed."""
        self._spans[run_id] = self._tracing.job(job, attempt=attempt, waited_s=waited_s)

    def report(self, report: StepReport, *, is_idle: bool) -> None:
        """The engine has made a step; `is_idle`: nothing is left to step."""
        if report.seconds is not None:
            self._tracing.step(report.num_rows, report.num_runs)
        for event in report.events:
            if isinstance(event, Entered):
                self._entered(event)
            elif isinstance(event, Drawn) and event.is_last:
                began = self._entered_at.pop(event.run_id, None)
                if began is not None:
                    self.stage(event.run_id, "decode", time.monotonic() - began)
        if is_idle:
            self._tracing.rest()

    def _entered(self, event: Entered) -> None:
        if event.prefill_s is not None:
            self.stage(event.run_id, "prefill", event.prefill_s)
        if event.run_id in self._spans:
            self._entered_at.setdefault(event.run_id, time.monotonic())

    def stage(self, run_id: str, stage: str, seconds: float) -> None:
        """A stage of the run ends now."""
        span = self._spans.get(run_id)
        if span is not None:
            span.stage(stage, seconds)

    def end(self, run_id: str, outcome: str) -> None:
        """The run has left the worker: an outcome, or why it was let go."""
        self._entered_at.pop(run_id, None)
        span = self._spans.pop(run_id, None)
        if span is not None:
            span.end(outcome)
