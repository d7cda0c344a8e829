"""The engine: runs on one batch, stepped together, each step told as a report.

Joins the scheduler with the pipeline's batch. One thread owns it. Knows no Redis, no HTTP and no
metrics, and makes no pixels: whoever reads the reports does.
"""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from models.drawing.generate import Batch
from models.drawing.sampling import InvalidSamplingError
from models.drawing.shapes import Shapes
from models.errors import UnsoundWeightsError
from models.pipeline import InvalidPromptError, Pipeline, Prefix, Prompt
from service.config.groups import TestingSettings
from service.jobs import Expired, Failed
from service.worker.device_memory import (
    Failure,
    free_device_memory,
    is_of_device,
    largest_that_fits,
)
from service.worker.drawing.faults import strike
from service.worker.drawing.glimpses import Glimpses
from service.worker.drawing.pace import Pace
from service.worker.drawing.row_params import default_params, row_params
from service.worker.drawing.scheduler import Entry, Scheduler
from service.worker.handover import Drawn, Left, StepReport
from service.worker.run import End, Run, TakenOut

ANY_PROMPT: Mapping[str, Prompt] = MappingProxyType({"text": "a", "class": 0, "none": None})
_NOT_FINITE = "The model's numbers left the finite range on this job."

_log = logging.getLogger(__name__)


class Engine:
    """Runs in flight on `num_rows` rows. Not thread-safe; `num_moves` may be read from anywhere."""

    def __init__(
        self,
        pipeline: Pipeline,
        num_rows: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_steps = 0
        self.num_moves = 0  # grows with every sign of progress: prefills, entries, steps
        self._pipeline = pipeline
        self._pace = Pace(pipeline.options.device)
        self._scheduler = Scheduler()
        self._glimpses = Glimpses(pipeline.preset)
        self.faults: TestingSettings | None = None
        self._clock = clock
        self._report = StepReport()  # the next one
        self._entering: list[Run] = []  # the run that is being admitted, if any
        self._batch: Batch
        self.num_rows, self._batch = largest_that_fits(num_rows, pipeline.batch)
        if self.num_rows < num_rows:
            self._report.shrunk.append(self.num_rows)

    def warm_up(self, use_codes: Callable[[torch.Tensor], None]) -> None:
        """Run every kernel once, before any job; `use_codes` does so for pictures, [1, T, D].

        Halves `num_rows` until the memory suffices. UnsoundWeightsError when it makes no sense.
        """

        def run(num_rows: int) -> None:
            if num_rows < self.num_rows:
                self._renew_batch(num_rows)
            use_codes(self._run_all_shapes())

        num_rows = self.num_rows
        largest_that_fits(num_rows, run)
        if self.num_rows < num_rows:
            self._report.shrunk.append(self.num_rows)

    def _run_all_shapes(self) -> torch.Tensor:
        """Each row count that steps may have on CUDA, whose kernels are captured; one row else.

        With the preset's own filters, since a captured step holds the draw: most requests' kind.
        """
        preset = self._pipeline.preset
        prompt = ANY_PROMPT[preset.prompt_kind]
        prefix = self._pipeline.prefix(self._pipeline.encode(prompt))
        is_captured = self._pipeline.options.device.type == "cuda"
        for shape in self._batch.shapes.rows if is_captured else (1,):
            size = min(shape, self.num_rows)  # the last shape may have rows that only fill a tile
            params = [default_params(preset, row) for row in range(size)]
            rows = self._batch.admit(prefix, params)
            while len(self._batch.step()) < size:
                self._pace.keep()
            if not all(self._batch.are_sound(rows)):
                raise UnsoundWeightsError("the states of stage 2")
            codes = self._batch.take(rows)
        return codes[:1]

    @property
    def shapes(self) -> Shapes:
        """What its steps may run at."""
        return self._batch.shapes

    @property
    def is_idle(self) -> bool:
        """True when a step would do nothing."""
        return not len(self._scheduler) and self._report == StepReport()

    @property
    def num_busy(self) -> int:
        """Rows in use."""
        return self._scheduler.num_busy

    def add(self, run: Run) -> None:
        """Take a run. One that can't be drawn is ended in the report of the step that finds out."""
        if not run.is_gone:
            self._scheduler.add(run)

    def step(self) -> StepReport:
        """Let those out that are gone or late and waiting ones in, then draw every row's next code.

        Does not raise for what a job, a step or a full memory does: the report tells it. Only a
        device that is lost, or whose memory does not hold one row any more, is the engine's end.
        """
        failure = None
        try:
            self._step()
        except Exception as error:
            failure = self._failed(error)
        if failure:
            self._recover(failure)
        report, self._report = self._report, StepReport()
        return report

    def settle(self) -> None:
        """Wait until the device has done the last step."""
        self._pace.settle()

    def _step(self) -> None:
        self._let_out()
        for entry in self._scheduler.entries(self._batch.num_free):
            self._enter(entry)
        running, num_rows = self._scheduler.running, self._scheduler.num_busy
        if not running:
            return
        began = self._clock()
        if self.faults:
            strike(self.faults, [run.job.recipe.prompt for run in running], num_rows)
        finished = self._batch.step()
        self._pace.keep()
        self.num_steps += 1
        self.num_moves += 1
        self._look(running)
        self._take(finished)
        for run in running:
            in_rows = self._num_codes(run)
            run.codes_done = run.num_drawn * run.codes_per_candidate + in_rows
        self._report.seconds = self._clock() - began
        self._report.num_rows, self._report.num_runs = num_rows, len(running)

    def _let_out(self) -> None:
        for run in self._scheduler.late(self._clock()):
            self._end(run, Expired())
        for run in self._scheduler.runs:
            if run.is_gone:
                self._batch.evict(self._forget(run))

    def _end(self, run: Run, end: End) -> None:
        if run.close(end):  # else whoever was faster tells it
            self._report.ended.append(run)

    def _num_codes(self, run: Run) -> int:
        """Codes drawn so far in the rows that it has now."""
        return self._pipeline.preset.depth * sum(map(self._batch.num_drawn, run.rows))

    def _forget(self, run: Run) -> list[int]:
        """Take it out before its time; returns its rows, which the batch still holds."""
        self._report.left.append(Left(run, len(run.rows), self._num_codes(run)))
        run.prefix = None
        return self._scheduler.remove(run)

    def _enter(self, entry: Entry) -> None:
        run = entry.run
        self._entering = [run]
        prefix = self._prefill(run) if run.prefix is None else run.prefix
        if prefix is not None:
            recipe, preset = run.job.recipe, self._pipeline.preset
            params = [row_params(recipe, candidate, preset) for candidate in entry.candidates]
            run.drawing_since = min(run.drawing_since, self._clock())
            is_first = not (run.rows or run.num_drawn)
            self._report.num_joins += is_first and self._scheduler.num_busy > 0
            self._scheduler.enter(entry, self._batch.admit(prefix, params, run.forced))
            self._report.num_entered += len(params)
            run.prefix = prefix if run.waiting else None  # else all candidates have their copy
            run.enter("drawing")
            self.num_moves += 1
        self._entering = []

    def _prefill(self, run: Run) -> Prefix | None:
        """Its prompt, run through the model; None when that has ended the run."""
        run.enter("prefill")
        try:
            preset = self._pipeline.preset
            row_params(run.job.recipe, run.candidates[0], preset).validate(preset.vocab_sizes)
            encoded = self._pipeline.encode(run.job.recipe.prompt)
            began = self._clock()
            prefix = self._pipeline.prefix(encoded, run.forced)
        except (InvalidPromptError, InvalidSamplingError) as error:
            self._refuse(run, "invalid_value", str(error))
            return None
        except Exception as error:
            if is_of_device(error, self._pipeline.options.device):
                raise
            self._crash([run], self._failed(error))  # only this prompt was touched
            return None
        run.is_truncated = encoded.is_truncated
        run.stamp("prefill", began, self._clock())
        return prefix

    def _refuse(self, run: Run, code: str, message: str) -> None:
        """It can't be made at all; its neighbours go on. The message may be shown to its caller."""
        self._end(run, Failed(code, message))
        self._batch.evict(self._scheduler.remove(run))

    def _look(self, running: list[Run]) -> None:
        """Tell the codes so far of runs whose next partial picture is due."""
        for run in running:
            row, candidate = min(run.rows.items(), key=lambda rc: rc[1])
            if candidate == 0 and self._glimpses.is_due(run, self._batch.num_drawn(row)):
                codes, (num_drawn,) = self._batch.peek([row])
                self._report.made.append(self._glimpses.of_rows(run, codes.cpu(), num_drawn))

    def _take(self, finished: list[int]) -> None:
        if not finished:
            return
        sound = dict(zip(finished, self._batch.are_sound(finished), strict=True))
        likelihoods = dict(zip(finished, self._batch.log_likelihoods(finished), strict=True))
        codes = dict(zip(finished, self._batch.take(finished).cpu(), strict=True))
        for run, rows in self._scheduler.leave(finished).items():
            if not all(sound[row] for row in rows):
                self._refuse(run, "not_finite", _NOT_FINITE)
                continue
            run.num_drawn += len(rows)
            if is_last := run.num_undrawn == 0:
                run.stamp("drawing", run.drawing_since, self._clock())
                run.drawing_since = math.inf
                run.codes_done = run.num_drawn * run.codes_per_candidate
                run.enter("pixels")
            of_candidates = {candidate: codes[row] for row, candidate in rows.items()}
            self._report.made += self._glimpses.of_finished(run, of_candidates)
            stacked = torch.stack([*of_candidates.values()])
            nats = tuple(likelihoods[row] for row in rows)
            self._report.made.append(Drawn(run, tuple(of_candidates), stacked, nats, is_last))

    def _failed(self, error: Exception) -> Failure:
        failure = Failure.of(error)
        if failure.is_out_of_memory:
            _log.warning(
                "out of memory", extra={"num_rows": self.num_rows, "failure": failure.text}
            )
        else:
            _log.error("a step failed", exc_info=error)
        traceback.clear_frames(error.__traceback__)  # whoever keeps the error keeps no batch
        return failure

    def _recover(self, failure: Failure) -> None:
        """Begin again: on half the rows, or, if that is not the cure, without what was in it."""
        num_rows = self.num_rows
        if failure.is_out_of_memory and num_rows > 1:
            num_rows //= 2
        else:
            self._crash(list(dict.fromkeys(self._scheduler.running + self._entering)), failure)
        self._renew_batch(num_rows)
        if failure.is_out_of_memory or self.num_rows < num_rows:
            self._report.shrunk.append(self.num_rows)

    def _crash(self, runs: list[Run], failure: Failure) -> None:
        """Take out what may have caused it. The batch may be past saving: it is let be."""
        self._report.num_crashes += 1
        for run in runs:
            self._end(run, TakenOut("crashed", failure.text))
            self._forget(run)

    def _renew_batch(self, num_rows: int) -> None:
        """A new batch of so many rows, or of fewer where the memory is too small for them."""
        self._scheduler.restart()
        self._entering = []
        for run in self._scheduler.runs:
            run.prefix = None
        del self._batch  # before its successor asks for memory
        free_device_memory()
        self.num_rows, self._batch = largest_that_fits(num_rows, self._pipeline.batch)
        self.num_moves += 1
