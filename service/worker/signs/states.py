"""The state of a worker process, out of those of its models: the best of them. Knows no model."""

from __future__ import annotations

from typing import get_args

from service.broker.workers import WorkerState
from service.metrics import WorkerMetrics

_BEST_FIRST: tuple[WorkerState, ...] = ("ready", "draining", "loading", "failing")


class States:
    """What each of the process's heartbeats told last."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._states: dict[object, WorkerState] = {}

    def tell(self, who: object, state: WorkerState) -> None:
        """From now on one is in this state."""
        self._states[who] = state
        best = min(self._states.values(), key=_BEST_FIRST.index)
        for each in get_args(WorkerState):
            self._metrics.state.labels(each).set(each == best)
        self._metrics.up.set(best == "ready")
