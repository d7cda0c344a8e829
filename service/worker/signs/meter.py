"""Turns what the worker's parts tell into metrics, and measures its rate.

Called from several threads: the metrics are thread-safe. Knows no queue and no model.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import get_args

from service.broker.sweep import Swept
from service.metrics import OUTCOMES, STAGES, WorkerMetrics
from service.worker.handover import Left, StepReport
from service.worker.run import LeaveReason, TakenOut

_OOM_WINDOW_S = 600.0
_MANY_OOMS = 3
_RATE_S = 30.0  # time constant of the measured rate


class Meter:
    """Metrics of one worker for one model, with the labels already filled in.

    A row draws `depth` codes at each step.
    """

    def __init__(self, metrics: WorkerMetrics, model: str, *, depth: int = 1) -> None:
        self._metrics = metrics
        self._depth = depth
        self._stages = {stage: metrics.stage_seconds.labels(model, stage) for stage in STAGES}
        self._outcomes = {outcome: metrics.jobs.labels(model, outcome) for outcome in OUTCOMES}
        reasons: tuple[LeaveReason, ...] = get_args(LeaveReason)
        self._left = {reason: metrics.rows_left_early.labels(model, reason) for reason in reasons}
        self._wasted = metrics.wasted_codes.labels(model)
        self._images = metrics.images.labels(model)
        self._job_seconds = metrics.end_to_end_seconds.labels(model)
        self._queue_wait = metrics.queue_wait_seconds.labels(model)
        self._step_seconds = metrics.step_seconds.labels(model)
        self._rows_total = metrics.rows_total.labels(model)
        self._rows_busy = metrics.rows_busy.labels(model)
        self._fill = metrics.batch_fill.labels(model)
        self._batch_jobs = metrics.batch_jobs.labels(model)
        self._joins = metrics.joins.labels(model)
        self._codes = metrics.codes.labels(model)
        self._finishing = metrics.finishing_images.labels(model)
        self._leases_lost = metrics.leases_lost_here.labels(model)
        self._crashes = metrics.batch_crashes.labels(model)
        self._ooms = metrics.out_of_memory.labels(model)
        self._oom_times: deque[float] = deque(maxlen=_MANY_OOMS)
        self._num_drawn = 0
        self._rate, self._rated_at, self._rated_num = 0.0, time.monotonic(), 0

    def stage(self, stage: str, seconds: float) -> None:
        """One call of a stage; let pass where there is no metric of that stage."""
        if stage in self._stages:
            self._stages[stage].observe(seconds)

    def step(self, report: StepReport, num_rows: int) -> None:
        """One step of the engine, with `num_rows` in all."""
        if report.seconds is not None:
            self._step_seconds.observe(report.seconds)
            self._fill.observe(report.num_rows / num_rows)
            self._batch_jobs.observe(report.num_runs)
            self._metrics.last_step_time.set(time.time())
        self._codes.inc(self._depth * (report.num_rows + report.num_entered))
        self._num_drawn += report.num_drawn
        if report.num_joins:
            self._joins.inc(report.num_joins)
        if report.num_crashes:
            self._crashes.inc(report.num_crashes)
        for left in report.left:
            self._left[_reason(left)].inc(left.num_rows)
            self._wasted.inc(left.num_codes)
        for shrunk_to in report.shrunk:
            self.rows(shrunk_to)
            self.out_of_memory()

    def rows(self, num_rows: int) -> None:
        """How many rows the batch has."""
        self._rows_total.set(num_rows)

    def out_of_memory(self) -> None:
        """The device's memory was too small for a step or a picture."""
        self._ooms.inc()
        self._oom_times.append(time.monotonic())

    def watch(self, num_busy: Callable[[], int], num_finishing: Callable[[], int]) -> None:
        """Ask these at each scrape: rows in use, candidates between last code and file."""
        self._rows_busy.set_function(num_busy)
        self._finishing.set_function(num_finishing)

    def claimed(self, queue_wait_s: float) -> None:
        """A job came from the queue."""
        self._queue_wait.observe(queue_wait_s)

    def lost(self) -> None:
        """A claim was gone when it was renewed or committed."""
        self._leases_lost.inc()

    def swept(self, swept: Swept) -> None:
        """What a sweep took back or ended."""
        swept.count(self._metrics.sweep)

    def buried(self) -> None:
        """A job that crashed here once too often became a dead letter."""
        self._metrics.sweep.dead_lettered.inc()

    def late(self, num_jobs: int) -> None:
        """Jobs that were to be claimed had passed their deadline."""
        self._metrics.sweep.expired.inc(num_jobs)

    def ended(self, outcome: str, *, num_images: int, seconds: float) -> None:
        """A job ended here."""
        self._outcomes[outcome].inc()
        self._images.inc(num_images)
        if outcome == "succeeded":
            self._job_seconds.observe(seconds)

    @property
    def runs_out_of_memory(self) -> bool:
        """True when the memory was too small several times within ten minutes."""
        times = self._oom_times
        return len(times) == _MANY_OOMS and time.monotonic() - times[0] < _OOM_WINDOW_S

    def candidates_per_s(self, is_busy: bool) -> float:
        """Rate at which candidates are drawn, of the last half minute of work."""
        now = time.monotonic()
        elapsed, drawn = now - self._rated_at, self._num_drawn - self._rated_num
        self._rated_at, self._rated_num = now, self._num_drawn
        if elapsed > 0 and (is_busy or drawn):
            share = min(1.0, elapsed / _RATE_S) if self._rate else 1.0
            self._rate += share * (drawn / elapsed - self._rate)
        return round(self._rate, 3)


def _reason(left: Left) -> LeaveReason:
    end = left.run.end
    return end.reason if isinstance(end, TakenOut) else "expired"
