"""The worker's signs of life: to Redis for the API, to gauges and probes for the operator.

Begins before the model is loaded. Knows no jobs: it asks for the vital signs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import get_args

import service
from service.broker.workers import ModelCard, WorkerInfo, Workers, WorkerState
from service.errors import QueueUnavailable
from service.metrics import WorkerMetrics

_SILENCE_S = 15.0  # an event loop that is late by so much is dead to a probe,
_NUM_MISSED = 3  # or by so many heartbeats, where these are far between

_log = logging.getLogger(__name__)


class Heartbeat:
    """One worker's. `card` is what can be said while the model loads, if anything."""

    def __init__(
        self, workers: Workers, worker_id: str, metrics: WorkerMetrics, card: ModelCard | None
    ) -> None:
        self.metrics = metrics
        self.worker_id = worker_id
        self._workers = workers
        loading = WorkerInfo(worker_id, card, version=service.__version__) if card else None
        self._last = loading
        self._signs: Callable[[], WorkerInfo | None] = lambda: loading
        self._beat_at = time.monotonic()
        self._silence_s = _SILENCE_S

    def attach(self, signs: Callable[[], WorkerInfo]) -> None:
        """From now on tell these."""
        self._signs = signs

    async def run(self, interval_s: float) -> None:
        """Beat for ever."""
        self._silence_s = max(_SILENCE_S, _NUM_MISSED * interval_s)
        failures = 0
        while True:
            try:
                await self.beat()
                failures = 0
            except QueueUnavailable:
                failures += 1
                if failures == 1:
                    _log.warning("no sign of life could be given: redis is away")
            await asyncio.sleep(interval_s)

    async def beat(self) -> None:
        """Beat once."""
        self._beat_at = time.monotonic()
        signs = self._last = self._signs()
        for state in get_args(WorkerState):
            self.metrics.state.labels(state).set(state == (signs.state if signs else "loading"))
        self.metrics.up.set(signs is not None and signs.state == "ready")
        if signs is not None:
            await self._workers.heartbeat(signs)

    async def leave(self, model: str) -> None:
        """Go off the list."""
        await self._workers.remove(self.worker_id, model)

    def is_live(self) -> bool:
        """The event loop turns, and what runs makes progress."""
        return time.monotonic() - self._beat_at < self._silence_s and (
            self._last is None or self._last.is_progressing
        )

    def is_ready(self) -> bool:
        """It takes jobs."""
        return self._last is not None and self._last.is_serving
