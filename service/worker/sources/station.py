"""The sources station: jobs that begin with a picture get it in codes, on a thread of its own.

All others go straight on to drawing. So that stepping waits for no picture, and since a picture's
codes must not depend on how many threads a CPU has to spare. Knows no Redis.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable

import torch

from models.known import Known
from models.pipeline import Pipeline
from service.errors import InvalidRequest
from service.jobs import Failed
from service.worker.cpu_share import use_threads
from service.worker.device_memory import Failure, retried
from service.worker.run import End, Run, TakenOut
from service.worker.signs.meter import Meter
from service.worker.sources.encoding import known_for
from service.worker.threads import on_own_thread

_LOST = Failed(
    "source_lost", "The picture that the job began with is no longer kept; send it again."
)

_log = logging.getLogger(__name__)


class Sources:
    """`drawing` and `delivery` are the inboxes behind it. `num_moves` grows with every picture."""

    def __init__(
        self,
        pipeline: Pipeline,
        meter: Meter,
        *,
        drawing: Callable[[Run], None],
        delivery: Callable[[Run], None],
    ) -> None:
        self.num_moves = 0
        self._pipeline = pipeline
        self._meter = meter
        self._drawing = drawing
        self._delivery = delivery
        self._inbox: queue.SimpleQueue[Run | None] = queue.SimpleQueue()

    def put(self, run: Run) -> None:
        """Take a run; one that begins with no picture has nothing to do here."""
        if run.job.recipe.source is None:
            self._drawing(run)
        else:
            self._inbox.put(run)

    async def run(self) -> None:
        """Encode pictures until `stop`."""
        await on_own_thread(self._work, "sources")

    def stop(self) -> None:
        """End when all that is in the inbox is done."""
        self._inbox.put(None)

    def _work(self) -> None:
        if self._pipeline.options.device.type == "cpu":
            use_threads(1)
        while (run := self._inbox.get()) is not None:
            if not run.is_gone:
                self._handle(run)

    def _handle(self, run: Run) -> None:
        end = self._encode(run)
        self.num_moves += 1
        if end is None:
            self._drawing(run)
        elif run.close(end):
            self._delivery(run)

    def _encode(self, run: Run) -> End | None:
        """Give the run what is known of its picture; how it ends where that can't be."""
        source = run.claim.source
        if source is None:
            return _LOST
        began = time.monotonic()
        run.enter("prefill")
        try:
            run.known = retried(lambda: self._known(run, source), self._meter.out_of_memory)
        except InvalidRequest as error:
            return Failed(error.code, error.message)
        except Exception as error:  # costs this run only
            _log.exception("a source could not be encoded")
            failure = Failure.of(error)
            if failure.is_out_of_memory:
                self._meter.out_of_memory()
            return TakenOut("crashed", failure.text)
        run.stamp("prefill", began, time.monotonic())
        return None

    def _known(self, run: Run, source: bytes) -> Known:
        known = known_for(self._pipeline, run.job.recipe, source)
        device = self._pipeline.options.device
        if device.type == "cuda":  # other threads, on other streams, read it next
            torch.cuda.current_stream(device).synchronize()
        return known
