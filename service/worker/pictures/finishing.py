"""From drawn codes to image files, on a thread of its own: pixels, scores, the best n, encoding.

So that stepping never waits for a picture. Takes what the engine tells, in its order, and gives
outcomes and partial pictures to a callback. Knows no Redis.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from models.pipeline import Pipeline, ranking, to_bytes
from service.jobs import Image, Job, Outcome, Succeeded
from service.worker.drawing.cpu_share import CpuShare, use_threads
from service.worker.drawing.device_memory import free_device_memory, is_out_of_memory
from service.worker.drawing.engine_events import (
    Crashed,
    Drawn,
    Entered,
    Event,
    Glimpse,
    Left,
    Refused,
)
from service.worker.pictures import png
from service.worker.pictures.picture_makers import PictureMakers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run's pictures are ready."""

    run_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PartialImage:
    """An image file of an unfinished candidate."""

    run_id: str
    index: int
    candidate: int
    data: bytes


@dataclass(frozen=True, slots=True)
class FinishingCrashed:
    """An error while making this run's pictures."""

    run_id: str
    failure: str


Product = Finished | PartialImage | FinishingCrashed


@dataclass(slots=True)
class _Work:
    run_id: str
    job: Job
    is_truncated: bool
    began: float
    text: torch.Tensor | None = None
    has_text: bool = False
    pictures: dict[int, tuple[NDArray[np.uint8], float | None]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Finishing:
    """The thread and its inbox. `num_moves` grows with every few candidates."""

    def __init__(
        self,
        pipeline: Pipeline,
        share: CpuShare,
        on_product: Callable[[Product], None],
        on_stage: Callable[[str, str, float], None],
        on_out_of_memory: Callable[[], None],
    ) -> None:
        self.num_moves = 0
        self._num_put = self._num_done = 0  # each written by one thread only
        self._pipeline = pipeline
        self._makers = PictureMakers(pipeline, share, on_move=self._count_move)
        self._on_product = on_product
        self._on_stage = on_stage
        self._on_out_of_memory = on_out_of_memory
        self._works: dict[str, _Work] = {}
        self._inbox: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="finishing", daemon=True)

    @property
    def num_waiting(self) -> int:
        """Candidates whose codes are drawn and whose picture is not made yet."""
        return self._num_put - self._num_done

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def put(self, event: Event) -> None:
        """Take an event of the engine; events that need no picture are let pass."""
        if isinstance(event, Drawn):
            self._num_put += len(event.candidates)
        self._inbox.put(event)

    def stop(self, timeout_s: float) -> None:
        """End when all that is in the inbox is done, or after `timeout_s`."""
        self._inbox.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        device = self._pipeline.options.device
        if device.type == "cpu":
            use_threads(1)
        with _own_stream(device):
            while (event := self._inbox.get()) is not None:
                self._handle(event)
        self._makers.close()

    def _count_move(self) -> None:
        self.num_moves += 1

    def _handle(self, event: Event) -> None:
        match event:
            case Entered():
                self._begin(event)
            case Drawn():
                with self._makers.at_work():
                    self._guarded(event.run_id, lambda: self._finish(event))
                self._num_done += len(event.candidates)
            case Glimpse():
                with self._makers.at_work():
                    self._guarded(event.run_id, lambda: self._retried(lambda: self._preview(event)))
            case Left() | Refused():
                self._works.pop(event.run_id, None)
            case Crashed():
                for run_id in event.run_ids:
                    self._works.pop(run_id, None)
            case _:
                pass

    def _begin(self, event: Entered) -> None:
        work = self._works.setdefault(
            event.run_id,
            _Work(event.run_id, event.job, event.is_truncated, time.monotonic()),
        )
        if event.prefill_s is not None:
            work.seconds["prefill"] = event.prefill_s

    def _guarded(self, run_id: str, make: Callable[[], None]) -> None:
        if run_id not in self._works:
            return
        try:
            make()
        except Exception as error:  # costs this run only
            _log.exception("a picture could not be made")
            if is_out_of_memory(error):
                self._on_out_of_memory()
            self._works.pop(run_id, None)
            self._on_product(FinishingCrashed(run_id, f"{type(error).__name__}: {error}"))

    def _retried(self, make: Callable[[], None]) -> None:
        """Where memory runs out, once more without what is only cached."""
        try:
            make()
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _log.warning("out of memory while making pictures; trying once more")
            self._on_out_of_memory()
        free_device_memory()  # out here, where the error no longer holds what there was
        make()

    @contextmanager
    def _timed(self, work: _Work, stage: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        work.seconds[stage] = work.seconds.get(stage, 0.0) + seconds
        self._on_stage(work.run_id, stage, seconds)

    def _finish(self, event: Drawn) -> None:
        work = self._works[event.run_id]
        if event.is_last:
            work.seconds["decode"] = time.monotonic() - work.began
        at_once = self._makers.at_once
        for start in range(0, len(event.candidates), at_once):
            part = slice(start, start + at_once)
            candidates, codes = event.candidates[part], event.codes[part]
            self._retried(partial(self._picture, work, candidates, codes))
        if event.is_last:
            outcome = self._outcome(work)
            del self._works[event.run_id]
            self._on_product(Finished(event.run_id, outcome))

    def _picture(self, work: _Work, candidates: Sequence[int], codes: torch.Tensor) -> None:
        with self._timed(work, "pixels"):
            pixels = self._makers.pixels(codes)
            rows = to_bytes(pixels)
        with self._timed(work, "rerank"):
            if not work.has_text:
                work.text, work.has_text = self._makers.text_features(work.job.prompt), True
            scores = self._makers.scores(work.text, pixels)
        for candidate, row, score in zip(candidates, rows, scores, strict=True):
            work.pictures[candidate] = (row, score)

    def _outcome(self, work: _Work) -> Succeeded:
        candidates = sorted(work.pictures)
        order = ranking([work.pictures[candidate][1] for candidate in candidates])
        best = [candidates[index] for index in order[: work.job.n]]
        with self._timed(work, "encode"):
            images = tuple(self._image(work, rank, kept) for rank, kept in enumerate(best))
        height, width, _ = work.pictures[best[0]][0].shape
        seconds = {stage: round(value, 6) for stage, value in work.seconds.items()}
        return Succeeded(images, f"{width}x{height}", seconds, work.is_truncated)

    def _image(self, work: _Work, rank: int, candidate: int) -> Image:
        pixels, score = work.pictures[candidate]
        record = png.Record.of(work.job, candidate, score)
        data = png.encode(pixels, work.job.output_format, record)
        return Image(rank, candidate, score or 0.0, data)

    def _preview(self, event: Glimpse) -> None:
        work = self._works[event.run_id]
        codes = event.codes.to(self._pipeline.options.device)
        (pixels,) = to_bytes(self._pipeline.preview(codes, [event.num_drawn]))
        data = png.encode(pixels, work.job.output_format)
        self.num_moves += 1
        self._on_product(PartialImage(event.run_id, event.index, event.candidate, data))


def _own_stream(device: torch.device) -> torch.cuda.StreamContext | nullcontext[None]:
    """On CUDA, work beside the steps instead of between them."""
    if device.type == "cuda":
        return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]  # untyped upstream
    return nullcontext()
