"""The gauges that come from Redis: live workers and how full the queues are, by model; webhooks.

Read for each scrape. A model that has been shown goes on being shown, so that its numbers go to 0
when its last worker dies, and don't stay as they were.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import get_args

from service.api.catalog import Catalog
from service.broker.outbox import Outbox
from service.broker.queue import Queue
from service.broker.workers import WorkerInfo, WorkerState
from service.metrics import ApiMetrics

_FRESH_S = 1.0  # scrapes within it count the queues once


class Gauges:
    """Sets the metrics. `clock` is for tests only."""

    def __init__(
        self,
        metrics: ApiMetrics,
        queue: Queue,
        catalog: Catalog,
        outbox: Outbox,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._queue = queue
        self._catalog = catalog
        self._outbox = outbox
        self._clock = clock
        self._models = set(catalog.expected)
        self._counted_at = float("-inf")

    async def read(self) -> None:
        """Set all of them. QueueUnavailable when Redis is away."""
        workers = await self._catalog.workers()
        self._models |= {worker.card.model for worker in workers}
        if self._clock() - self._counted_at > _FRESH_S:
            self._models |= await self._queue.models()
            for model in sorted(self._models):
                await self._count_queue(model)
            await self._count_messages()
            self._counted_at = self._clock()
        self._count_workers(workers)

    def _count_workers(self, workers: Iterable[WorkerInfo]) -> None:
        counts = Counter((worker.card.model, worker.state) for worker in workers)
        for model in self._models:
            for state in get_args(WorkerState):
                self._metrics.workers_live.labels(model, state).set(counts[(model, state)])

    async def _count_queue(self, model: str) -> None:
        depth = await self._queue.depth(model)
        gauges = self._metrics
        gauges.queue_jobs.labels(model).set(depth.waiting)
        gauges.queue_oldest_seconds.labels(model).set(depth.oldest_age_s)
        gauges.running_jobs.labels(model).set(depth.running)
        gauges.candidates_in_flight.labels(model).set(depth.candidates)
        gauges.drain_rate.labels(model).set(depth.drain_per_s or 0.0)
        gauges.dead_letters.set(depth.dead_letters)
        for counter in (gauges.admitted, gauges.jobs_cancelled):
            counter.labels(model)  # there from the first scrape, so that a rate sees the first job

    async def _count_messages(self) -> None:
        depth = await self._outbox.depth()
        webhooks = self._metrics.webhooks
        webhooks.pending.set(depth.waiting)
        webhooks.oldest_seconds.set(depth.oldest_age_s)
        webhooks.letters.set(depth.letters)
