"""The engine: runs of jobs on one batch, stepped together, each step told as a report.

Joins the scheduler with the pipeline's batch. One thread owns it. Knows no Redis, no HTTP and no
metrics, and makes no pixels: whoever reads the reports does.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import torch

from models.drawing.generate import Batch, Shapes
from models.drawing.sampling import InvalidSamplingError, RowParams
from models.pipeline import EncodedPrompt, InvalidPromptError, Pipeline, Prefix
from service.jobs import Job
from service.worker.drawing.device_memory import (
    free_device_memory,
    is_out_of_memory,
    largest_that_fits,
)
from service.worker.drawing.engine_events import (
    Crashed,
    Drawn,
    Entered,
    Event,
    Glimpse,
    LeaveReason,
    Left,
    OutOfMemory,
    Refused,
    StepReport,
)
from service.worker.drawing.faults import Faults
from service.worker.drawing.pace import Pace
from service.worker.drawing.scheduler import Entry, Scheduler

_NOT_FINITE = "The model's numbers left the finite range on this job."

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    job: Job
    encoded: EncodedPrompt
    prefix: Prefix | None = None
    num_done: int = 0  # candidates that have all their codes
    num_glimpses: int = 0


@dataclass(frozen=True, slots=True)
class _Failure:
    """What is kept of an error: the frames of its traceback hold the batch's memory."""

    text: str
    is_out_of_memory: bool


def row_params(job: Job, candidate: int) -> RowParams:
    """How one candidate of a job is drawn."""
    return RowParams(job.seed, candidate, job.temperature, job.top_k, job.top_p)


class Engine:
    """Runs in flight on `num_rows` rows. Not thread-safe; `num_moves` may be read from anywhere."""

    def __init__(
        self,
        pipeline: Pipeline,
        num_rows: int,
        *,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_steps = 0
        self.num_moves = 0  # grows with every sign of progress: prefills, entries, steps
        self._pipeline = pipeline
        self._pace = Pace(pipeline.options.device)
        self._codes_per_row = pipeline.preset.num_steps
        self._scheduler = Scheduler()
        self._runs: dict[str, _Run] = {}
        self.faults = faults or Faults()
        self._clock = clock
        self._events: list[Event] = []
        self._entering: list[str] = []  # the run that is being admitted, if any
        self._batch: Batch
        self.num_rows, self._batch = largest_that_fits(num_rows, pipeline.batch)
        if self.num_rows < num_rows:
            self._events.append(OutOfMemory(self.num_rows))

    def warm_up(self, use_codes: Callable[[torch.Tensor], None]) -> None:
        """Run every kernel once, before any job; `use_codes` does so for pictures, [1, T, D].

        Where the device lacks the memory, `num_rows` is halved until it suffices.
        """

        def run(num_rows: int) -> None:
            if num_rows < self.num_rows:
                self._renew_batch(num_rows)
            use_codes(self._run_all_shapes())

        num_rows = self.num_rows
        largest_that_fits(num_rows, run)
        if self.num_rows < num_rows:
            self._events.append(OutOfMemory(self.num_rows))

    def _run_all_shapes(self) -> torch.Tensor:
        """Each row count that steps may have on CUDA, whose kernels are captured; one row else."""
        kind = self._pipeline.preset.prompt_kind
        prompts: dict[str, str | int | None] = {"text": "a", "class": 0, "none": None}
        prefix = self._pipeline.prefix(self._pipeline.encode(prompts[kind]))
        is_captured = self._pipeline.options.device.type == "cuda"
        for shape in self._batch.shapes.rows if is_captured else (1,):
            size = min(shape, self.num_rows)  # the last shape may have rows that only fill a tile
            params = [RowParams(0, row, top_k=1, top_p=0.5) for row in range(size)]
            rows = self._batch.admit(prefix, params)
            while len(self._batch.step()) < size:
                self._pace.keep()
            codes = self._batch.take(rows)
        return codes[:1]

    @property
    def shapes(self) -> Shapes:
        """What its steps may run at."""
        return self._batch.shapes

    @property
    def is_idle(self) -> bool:
        """True when a step would do nothing."""
        return not self._runs and not self._events

    @property
    def num_busy(self) -> int:
        """Rows in use."""
        return self._scheduler.num_busy

    def add(self, run_id: str, job: Job, deadline: float) -> None:
        """Take a job. `deadline` is a time of the engine's clock. A bad one is told as Refused."""
        try:
            row_params(job, 0).validate(self._pipeline.preset.vocab_sizes)
            encoded = self._pipeline.encode(job.prompt)
        except (InvalidPromptError, InvalidSamplingError) as error:
            self._events.append(Refused(run_id, "invalid_value", str(error)))
            return
        self._runs[run_id] = _Run(job, encoded)
        self._scheduler.add(run_id, job.num_candidates, deadline)

    def remove(self, run_id: str, reason: LeaveReason) -> None:
        """Take a run out, known or not; the next report tells it as Left."""
        counts = self._counts_of(run_id)
        self._batch.evict(self._scheduler.remove(run_id))
        self._runs.pop(run_id, None)
        self._events.append(Left(run_id, reason, len(counts), sum(counts)))

    def progress(self) -> dict[str, int]:
        """Codes drawn so far, by run; a run that is gone has them all."""
        return {
            run_id: run.num_done * self._codes_per_row + sum(self._counts_of(run_id))
            for run_id, run in self._runs.items()
        }

    def _counts_of(self, run_id: str) -> list[int]:
        return [self._batch.num_drawn(row) for row in self._scheduler.rows_of(run_id)]

    def step(self) -> StepReport:
        """Let late ones out and waiting ones in, then draw the next code of every row.

        Does not raise for what a job, a step or a full memory does: the report tells it. Only a
        memory that does not hold one row any more is the engine's end.
        """
        report, failure = StepReport(), None
        try:
            report = self._step()
        except Exception as error:
            failure = self._failed(error)
        if failure:
            self._recover(failure)
        report.events, self._events = self._events, []
        return report

    def _step(self) -> StepReport:
        for run_id in self._scheduler.late(self._clock()):
            self.remove(run_id, "expired")
        for entry in self._scheduler.entries(self._batch.num_free):
            self._enter(entry)
        running = self._scheduler.running
        if not running:
            return StepReport()
        began = self._clock()
        num_rows = self._scheduler.num_busy
        if self.faults.is_on:
            self.faults.strike([self._runs[run_id].job.prompt for run_id in running], num_rows)
        finished = self._batch.step()
        self._pace.keep()
        self.num_steps += 1
        self.num_moves += 1
        self._look(running)
        self._take(finished)
        seconds = self._clock() - began
        return StepReport([], seconds, num_rows, len(running), num_rows)

    def _enter(self, entry: Entry) -> None:
        run = self._runs[entry.run_id]
        self._entering = [entry.run_id]
        prefill_s = None
        if run.prefix is None:
            began = self._clock()
            try:
                run.prefix = self._pipeline.prefix(run.encoded)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                # Only this prompt was touched.
                self._crash_runs(self._entering, self._failed(error))
                self._entering = []
                return
            prefill_s = self._clock() - began
        is_join = self._scheduler.num_busy > 0
        rows = self._batch.admit(run.prefix, [row_params(run.job, c) for c in entry.candidates])
        self._scheduler.enter(entry, rows)
        self._entering = []
        self.num_moves += 1
        if not self._scheduler.waiting_of(entry.run_id):
            run.prefix = None  # all candidates have their copy
        self._events.append(
            Entered(
                entry.run_id,
                run.job,
                len(rows),
                self.num_steps,
                is_join,
                run.encoded.is_truncated,
                prefill_s,
            )
        )

    def _look(self, running: list[str]) -> None:
        """Tell the codes so far of runs whose next partial picture is due."""
        for run_id in running:
            run = self._runs[run_id]
            num_glimpses = run.job.partial_images
            if run.num_glimpses >= num_glimpses:
                continue
            row, candidate = min(self._scheduler.rows_of(run_id).items(), key=lambda rc: rc[1])
            due = self._codes_per_row * (run.num_glimpses + 1) // (num_glimpses + 1)
            if candidate == 0 and self._batch.num_drawn(row) >= max(due, 1):
                codes, counts = self._batch.peek([row])
                glimpse = Glimpse(run_id, run.num_glimpses, candidate, codes.cpu(), counts[0])
                self._events.append(glimpse)
                run.num_glimpses += 1

    def _take(self, finished: list[int]) -> None:
        if not finished:
            return
        sound = dict(zip(finished, self._batch.are_sound(finished), strict=True))
        codes = dict(zip(finished, self._batch.take(finished).cpu(), strict=True))
        for run_id, rows in self._scheduler.leave(finished).items():
            if not all(sound[row] for row in rows):
                self._refuse_running(run_id, "not_finite", _NOT_FINITE)
                continue
            self._runs[run_id].num_done += len(rows)
            is_last = run_id not in self._scheduler
            if is_last:
                del self._runs[run_id]
            stacked = torch.stack([codes[row] for row in rows])
            self._events.append(Drawn(run_id, tuple(rows.values()), stacked, is_last))

    def _refuse_running(self, run_id: str, code: str, message: str) -> None:
        self._batch.evict(self._scheduler.remove(run_id))
        del self._runs[run_id]
        self._events.append(Refused(run_id, code, message))

    def _failed(self, error: Exception) -> _Failure:
        failure = _Failure(f"{type(error).__name__}: {error}", is_out_of_memory(error))
        if failure.is_out_of_memory:
            _log.warning(
                "out of memory", extra={"num_rows": self.num_rows, "failure": failure.text}
            )
        else:
            _log.error("a step failed", exc_info=error)
        traceback.clear_frames(error.__traceback__)  # whoever keeps the error keeps no batch
        return failure

    def _recover(self, failure: _Failure) -> None:
        """Begin again: on half the rows, or, if that is not the cure, without what was in it."""
        num_rows = self.num_rows
        if failure.is_out_of_memory and num_rows > 1:
            num_rows //= 2
        else:
            self._crash_runs(list({*self._scheduler.running, *self._entering}), failure)
        self._renew_batch(num_rows)
        if failure.is_out_of_memory or self.num_rows < num_rows:
            self._events.append(OutOfMemory(self.num_rows))

    def _crash_runs(self, run_ids: list[str], failure: _Failure) -> None:
        counts = [count for run_id in run_ids for count in self._counts_of(run_id)]
        for run_id in run_ids:
            self._scheduler.remove(run_id)
            self._runs.pop(run_id, None)
        self._events.append(Crashed(tuple(run_ids), failure.text, len(counts), sum(counts)))

    def _renew_batch(self, num_rows: int) -> None:
        """A new batch of so many rows, or of fewer where the memory is too small for them."""
        self._scheduler.restart()
        self._entering = []
        for run in self._runs.values():
            run.prefix = None
        del self._batch  # before its successor asks for memory
        free_device_memory()
        self.num_rows, self._batch = largest_that_fits(num_rows, self._pipeline.batch)
        self.num_moves += 1
