"""The worker's signs of life: to Redis for the API, to gauges and probes for the operator.

Begins before the model is loaded. Knows no jobs: it asks for the vital signs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import service
from service.broker.fault_log import FaultLog
from service.broker.workers import Holder, ModelCard, WorkerInfo, Workers
from service.errors import QueueUnavailable
from service.metrics import WorkerMetrics
from service.worker.signs.states import States
from service.worker.signs.worker_name import Owner, name_of_its_own

_SILENCE_S = 15.0  # an event loop that is late by so much is dead to a probe,
_NUM_MISSED = 3  # or by so many heartbeats, where these are far between

_log = logging.getLogger(__name__)


class Heartbeat:
    """One worker's, or one model's of it. `card`: what can be said while it loads, if anything.

    The models of a process share `states`.
    """

    def __init__(
        self,
        workers: Workers,
        worker_id: str,
        metrics: WorkerMetrics,
        card: ModelCard | None,
        states: States | None = None,
    ) -> None:
        self.metrics = metrics
        self._states = states or States(metrics)
        self.faults = FaultLog(metrics.redis_faults)
        self.worker_id = worker_id
        self._named = asyncio.Event()
        self._holder: Holder | None = None  # who had the name at the last beat
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
        while True:
            try:
                await self.beat()
            except QueueUnavailable as error:
                self.faults.note(error)
            except Exception as error:  # else nobody would hear of this worker again, nor why
                self.faults.note_unforeseen("a sign of life could not be given", error)
            await asyncio.sleep(interval_s)

    async def beat(self) -> None:
        """Beat once."""
        self._beat_at = time.monotonic()
        signs = self._last = self._signs()
        self._states.tell(self, signs.state if signs else "loading")
        if signs is not None:
            await self._say(signs)

    async def _say(self, signs: WorkerInfo) -> None:
        """Say it under a name that is this process's alone."""
        info = replace(signs, id=self.worker_id)
        holder = await self._workers.heartbeat(info)
        owner = Owner.parse(holder.owner) if holder else None
        if holder and owner and owner.has_ended():
            holder = await self._workers.heartbeat(info, gone=holder.owner)
        if holder and self._is_alive(holder):
            self._take_own_name(owner)
            holder = await self._workers.heartbeat(replace(info, id=self.worker_id))
        self._holder = holder
        if holder is None:
            self._named.set()

    def _is_alive(self, holder: Holder) -> bool:
        """It has said so since the last beat, or taken a name that was ours; else it may be what a
        worker left that was killed, and its name is free when its last sign is old.
        """
        has_spoken = self._holder is not None and self._holder != holder
        return has_spoken or self._named.is_set()

    def _take_own_name(self, owner: Owner | None) -> None:
        taken, self.worker_id = self.worker_id, name_of_its_own(self.worker_id)
        _log.warning(
            "another worker is called %s: this one goes by %s; give each its own "
            "MINDALLE_WORKER__ID",
            taken,
            self.worker_id,
            extra={"other_host": owner.host} if owner else {},
        )

    async def named(self) -> None:
        """Wait until `worker_id` is known to be this worker's alone."""
        await self._named.wait()

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
