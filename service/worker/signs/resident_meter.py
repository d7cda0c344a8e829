"""Metrics of where a model of a worker is: cold, loading, ready or unloading. Knows no model."""

from __future__ import annotations

from typing import Literal, get_args

from service.broker.workers import Residence
from service.metrics import WorkerMetrics

UnloadReason = Literal["idle", "memory"]
_LOADS = ("loaded", "failed")


class ResidentMeter:
    """Of one model, with its labels filled in."""

    def __init__(self, metrics: WorkerMetrics, model: str) -> None:
        self._states = {state: metrics.model_state.labels(model, state) for state in _STATES}
        self._bytes = metrics.model_bytes.labels(model)
        self._load_seconds = metrics.model_load_seconds.labels(model)
        self._loads = {name: metrics.model_loads.labels(model, name) for name in _LOADS}
        reasons: tuple[UnloadReason, ...] = get_args(UnloadReason)
        self._unloads = {name: metrics.model_unloads.labels(model, name) for name in reasons}

    def entered(self, state: Residence) -> None:
        """It is in this state now."""
        for each, gauge in self._states.items():
            gauge.set(each == state)

    def loaded(self, num_bytes: int, seconds: float) -> None:
        """It was loaded in so long, and holds so much."""
        self._loads["loaded"].inc()
        self._load_seconds.set(seconds)
        self._bytes.set(num_bytes)

    def failed(self) -> None:
        """It could not be loaded."""
        self._loads["failed"].inc()

    def unloaded(self, reason: UnloadReason) -> None:
        """It holds nothing any more."""
        self._unloads[reason].inc()
        self._bytes.set(0)


_STATES: tuple[Residence, ...] = get_args(Residence)
