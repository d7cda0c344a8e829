"""CUDA graphs of decode steps: one launch instead of hundreds, one graph per shape.

A step at small batches is bound by launching kernels, not by running them. The graph is captured at
the first step of each shape and replayed after. Used by `pipeline`; on a CPU nothing of this runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.stage2.kv_cache import KVCache
from models.stage2.transformer import Step, Transformer

_WARM_UP_STEPS = 3  # lets the libraries choose and allocate before the capture


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    codes: Tensor
    places: Tensor
    step: Step
    hidden: Tensor


class GraphedStage2:
    """A transformer whose `decode` replays graphs. For one cache only: graphs hold its address."""

    def __init__(self, stage2: Transformer) -> None:
        self._stage2 = stage2
        self.depth, self.num_steps = stage2.depth, stage2.num_steps
        self._captured: dict[tuple[int, int], _Captured] = {}
        self._cache: KVCache | None = None

    @property
    def vocab_size(self) -> int:
        return self._stage2.vocab_size

    @property
    def device(self) -> torch.device:
        return self._stage2.device

    def new_cache(self, num_rows: int) -> KVCache:
        """The cache that this object's graphs read and write.

        Raises:
            RuntimeError: it was made before.
        """
        if self._cache is not None:
            raise RuntimeError("graphs are captured for one cache")
        self._cache = self._stage2.new_cache(num_rows)
        return self._cache

    def sample(self, hidden: Tensor, draw: Callable[[Tensor, int], Tensor]) -> Tensor:
        """As the transformer's."""
        return self._stage2.sample(hidden, draw)

    def decode(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> Tensor:
        """As the transformer's; the result is overwritten by the next step of the same shape."""
        if cache is not self._cache:
            raise RuntimeError("graphs are captured for one cache")
        key = (len(codes), step.span)
        if key not in self._captured:
            self._captured[key] = self._capture(codes, places, cache, step)
        captured = self._captured[key]
        captured.codes.copy_(codes)
        captured.places.copy_(places)
        captured.step.positions.copy_(step.positions)
        captured.step.mask.copy_(step.mask)
        captured.graph.replay()
        return captured.hidden

    def _capture(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> _Captured:
        inputs = (codes.clone(), places.clone())
        held = Step(step.positions.clone(), step.mask.clone(), step.span)
        side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # torch ships no types
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            # Writing a position twice with the same values changes nothing.
            for _ in range(_WARM_UP_STEPS):
                self._stage2.decode(*inputs, cache, held)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # On the model's own device, which need not be the current one. Thread-local, since the
        # thread that makes pictures may allocate meanwhile, which would break a global capture.
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"),
        ):
            hidden = self._stage2.decode(*inputs, cache, held)
        return _Captured(graph, *inputs, held, hidden)
