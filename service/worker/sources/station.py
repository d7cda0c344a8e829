"""The sources station of one model: jobs that begin with a picture get it in codes, by a hand.

All others go straight on to drawing. So that stepping waits for no picture, and since a picture's
codes must not depend on how many threads a CPU has to spare. A worker's models share the hand.
Knows no Redis.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from models.known import Known
from models.pipeline import Pipeline
from service.errors import InvalidRequest
from service.jobs import Failed
from service.worker.cpu_share import use_threads
from service.worker.device_memory import Failure, is_lost, retried
from service.worker.run import End, Run, TakenOut
from service.worker.signs.meter import Meter
from service.worker.sources.encoding import known_for
from service.worker.threads import Hand

_LOST = Failed(
    "source_lost", "The picture that the job began with is no longer kept; send it again."
)

_log = logging.getLogger(__name__)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """What the station's hand works inside."""
    if device.type == "cpu":
        use_threads(1)
    yield


class Sources:
    """`drawing` and `delivery` are the inboxes behind it. `num_moves` grows with every picture."""

    def __init__(
        self,
        pipeline: Pipeline,
        meter: Meter,
        hand: Hand,
        *,
        drawing: Callable[[Run], None],
        delivery: Callable[[Run], None],
    ) -> None:
        self.num_moves = 0
        self._pipeline = pipeline
        self._meter = meter
        self._drawing = drawing
        self._delivery = delivery
        self._hand = hand

    def put(self, run: Run) -> None:
        """Take a run; one that begins with no picture has nothing to do here."""
        if run.job.recipe.source is None:
            self._drawing(run)
        else:
            self._hand.put(partial(self._handle, run))

    def _handle(self, run: Run) -> None:
        if run.is_gone:
            return
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
            if is_lost(self._pipeline.options.device):
                raise
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
