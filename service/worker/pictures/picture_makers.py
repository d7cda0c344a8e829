"""Pixels and scores of drawn codes, by several threads on a CPU, by this one on any other device.

Each of a CPU's threads makes whole pictures alone: none waits for another one, and a picture's
bytes don't depend on how many threads there are, as sums that threads divide among them would.
Knows no jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from typing import TypeVar

import torch
from torch import Tensor

from models.drawing.sampling import RowParams
from models.pipeline import CHUNK, Pipeline, Prompt
from service.worker.cpu_share import CpuShare, use_threads

_S = TypeVar("_S")
_T = TypeVar("_T")


class PictureMakers:
    """Use it inside `at_work`, from one thread, which `on_move` is called on every few pictures."""

    def __init__(self, pipeline: Pipeline, share: CpuShare) -> None:
        self.pipeline = pipeline
        self.on_move: Callable[[], None] | None = None
        self._share = share
        self._threads: ThreadPoolExecutor | None = None
        if share.total > 1:
            self._threads = ThreadPoolExecutor(
                share.total, "pictures", initializer=use_threads, initargs=(1,)
            )
        self._num_free = 1

    @property
    def at_once(self) -> int:
        """Pictures that are worth making in one go."""
        return CHUNK * self._num_free

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Holds the CPU's share for pictures."""
        with self._share.for_pictures() as self._num_free:
            yield

    def pixels(self, codes: Tensor) -> Tensor:
        """`Pipeline.pixels`: codes [n, T, D] → [n, 3, H, W] in 0..1 on the device."""
        own = codes.to(self.pipeline.options.device)
        parts = self.pipeline.chunks.split(own, self._num_free)
        return torch.cat(self._map(self.pipeline.pixels, parts))

    def text_features(self, prompt: Prompt) -> Tensor | None:
        """`Pipeline.text_features`."""
        return self._map(self.pipeline.text_features, [prompt])[0]

    def scores(
        self, text: Tensor | None, pixels: Tensor, codes: Tensor | None = None
    ) -> list[float | None]:
        """`Pipeline.scores`, in the chunks that it makes itself."""
        made_of = repeat(None) if codes is None else torch.split(codes, CHUNK)
        chunks = list(zip(torch.split(pixels, CHUNK), made_of, strict=False))
        parts = self._map(lambda chunk: self.pipeline.scores(text, *chunk), chunks)
        return [score for part in parts for score in part]

    def enhanced(self, codes: Tensor, rows: Sequence[RowParams]) -> Tensor:
        """`Pipeline.enhanced`: codes [n, T, D] and how they were drawn → [n, 3, H, W] in 0..1."""
        options = self.pipeline.options
        chunk = options.chunk
        parts = torch.split(codes.to(options.device), chunk)
        own = [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
        pairs = list(zip(parts, own, strict=True))
        return torch.cat(self._map(lambda pair: self.pipeline.enhanced(*pair), pairs))

    def close(self) -> None:
        """End the threads; those at work end when they are done."""
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _map(self, work: Callable[[_S], _T], parts: Sequence[_S]) -> list[_T]:
        """As many parts at a time as there are threads for them."""
        done: list[_T] = []
        for start in range(0, len(parts), self._num_free):
            some = parts[start : start + self._num_free]
            if self._threads is None or self._num_free == 1:
                done += map(work, some)
            else:
                done += self._threads.map(work, some)
            if self.on_move:
                self.on_move()
        return done
