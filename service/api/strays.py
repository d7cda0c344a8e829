"""Jobs that may be in the queue though their callers were told that they are not.

Redis did not answer in time, and may yet do what it was asked: a worker would draw for nobody, and
again for each time that such a caller tries again. So these jobs are cancelled once Redis answers.
Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from service.broker.queue import Queue
from service.broker.redis_connection import backoff_s
from service.broker.stopping import stop
from service.errors import JobNotFound, QueueUnavailable
from service.jobs import Job
from service.metrics import ApiMetrics

_MOST = 256  # more are never under way at once: a process has fewer connections
_IN_VAIN = 4  # so often not found, it never arrived; a first look may come before the job does

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stray:
    job: Job
    give_up: float
    num_in_vain: int = 0


class Strays:
    """Looks for all of them one by one, so that no crowd of them takes the connections."""

    def __init__(self, queue: Queue, metrics: ApiMetrics) -> None:
        self._queue = queue
        self._metrics = metrics
        self._strays: list[_Stray] = []
        self._search: asyncio.Task[None] | None = None

    @contextmanager
    def watched(self, job: Job) -> Iterator[None]:
        """Put the job into the queue inside of this. Where Redis does not say whether it is there,
        it is looked for until its deadline, and cancelled.
        """
        try:
            yield
        except QueueUnavailable as error:
            if error.code == QueueUnavailable.code:  # after a refusal it is not there
                self._search_for(job)
            raise

    async def close(self) -> None:
        """Search no more: what is not found yet runs until its deadline."""
        if self._search is not None:
            await stop(self._search)

    def _search_for(self, job: Job) -> None:
        if len(self._strays) >= _MOST:
            _log.warning("a job may run that nobody waits for", extra={"job_id": job.id})
            return
        self._strays.append(_Stray(job, time.monotonic() + job.deadline_s))
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._until_settled())

    async def _until_settled(self) -> None:
        rounds = 0
        while self._strays:
            rounds += 1
            await asyncio.sleep(backoff_s(rounds))
            with suppress(QueueUnavailable):
                for stray in tuple(self._strays):
                    if await self._settle(stray):
                        self._strays.remove(stray)
            now = time.monotonic()
            self._strays = [stray for stray in self._strays if now < stray.give_up]

    async def _settle(self, stray: _Stray) -> bool:
        try:
            cancelled = await self._queue.cancel(stray.job.id)
        except JobNotFound:
            stray.num_in_vain += 1
            return stray.num_in_vain >= _IN_VAIN
        found = {"job_id": stray.job.id, "status": cancelled.view.status}
        _log.info("found a job that nobody waits for", extra=found)
        self._metrics.cancelled(stray.job.recipe.model, was_live=cancelled.was_live)
        return True
