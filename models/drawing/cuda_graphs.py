"""CUDA graphs of steps: one launch instead of hundreds, one graph per key. A `Runner` of the loop.

A step at small batches is bound by launching kernels, not by running them. What a step does (the
prior's forward, its loop over depths, the draws) is captured at the first step of each key and
replayed after. Knows no model and no loop; on a CPU nothing of this runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from threading import Lock

import torch

_WARM_UP_STEPS = 3  # lets the libraries choose and allocate before the capture
_MOST = 2000  # graphs; callers' filters choose how many kinds of steps there are
_ONE_AT_A_TIME = Lock()  # of a process's captures; another model may be loaded meanwhile


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The one that all captures are on.

    Only there a pool's memory is used again. And torch has 32 streams that it gives out in turn: a
    new one each time would soon be the one on which pictures are made, and take in what they do.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch ships no types


class Graphs:
    """The graphs of one batch, those used last: they hold the addresses of its tensors.

    They share one pool of memory. None leaves a result in it that another might overwrite, since
    steps write into the batch's own tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._captured: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do `work`, which must change nothing when it is done twice."""
        graph = self._captured.pop(key, None) or self._capture(work)
        self._captured[key] = graph  # behind all others
        if len(self._captured) > _MOST:
            del self._captured[next(iter(self._captured))]
        graph.replay()

    def _capture(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        with _ONE_AT_A_TIME:
            return self._captured_on(_stream(self._device), work)

    def _captured_on(
        self, side: torch.cuda.Stream, work: Callable[[], None]
    ) -> torch.cuda.CUDAGraph:
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_STEPS):
                work()
        torch.cuda.current_stream(self._device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # On the model's own device, which need not be the current one. Thread-local, since the
        # thread that makes pictures may allocate meanwhile, which would break a global capture.
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(
                graph, pool=self._pool, stream=side, capture_error_mode="thread_local"
            ),
        ):
            work()
        return graph
