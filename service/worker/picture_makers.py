"""Pixels and scores of drawn codes, by several threads on a CPU, by this one on any other device.

Each of a CPU's threads makes whole pictures alone, so none waits for another one. Knows no jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from models.clip import CHUNK
from models.pipeline import Pipeline
from service.worker.cpu_share import CpuShare, use_threads

_T = TypeVar("_T")


class PictureMakers:
    """Use it inside `at_work`, from one thread."""

    def __init__(self, pipeline: Pipeline, share: CpuShare) -> None:
        self._pipeline = pipeline
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
        codes = codes.to(self._pipeline.options.device)
        size = -(-len(codes) // self._num_free)
        return torch.cat(self._map(self._pipeline.pixels, torch.split(codes, size)))

    def scores(self, text: Tensor | None, pixels: Tensor) -> list[float | None]:
        """`Pipeline.scores`, in the chunks that it makes itself."""
        parts = self._map(
            lambda part: self._pipeline.scores(text, part), torch.split(pixels, CHUNK)
        )
        return [score for part in parts for score in part]

    def close(self) -> None:
        """End the threads."""
        if self._threads:
            self._threads.shutdown()

    def _map(self, work: Callable[[Tensor], _T], parts: tuple[Tensor, ...]) -> list[_T]:
        if self._threads is None or self._num_free == 1:
            return [work(part) for part in parts]
        return list(self._threads.map(work, parts))
