"""Thousands of prompts through a service: so many at a time, as fast as it takes them, once each.

Whenever the server says when to ask again, nobody here asks before. What a run has begun and not
finished is found again by its idempotency keys. Knows neither terminals nor where prompts are from.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import httpx

from service.answers.job_answer import JobAnswer
from service.client.async_client import AsyncClient
from service.client.manifest import Entry, Manifest
from service.client.protocol import ApiError

_T = TypeVar("_T")

_EXPIRED = {"code": "not_found", "message": "The images of this job have expired."}
_MAX_ATTEMPTS = 3  # of jobs that expired in the queue, or whose images did
_LONGEST_PAUSE_S = 120.0
_LONGEST_BACKOFF_S = 30.0
_REFUSED_FOR_NOW = frozenset({408, 409, 429, 502, 503})
_ASKED_IN_VAIN = frozenset({401, 403})  # whatever the prompt


@dataclass(slots=True)
class Counts:
    """How far a run is."""

    total: int
    done: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        """Prompts that have not ended."""
        return self.total - self.done - self.failed


@dataclass(slots=True)
class Gate:
    """Asks the server when it may be asked; what it says to one caller holds for all.

    `patience_s` without anything that worked ends the run.
    """

    patience_s: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _not_before: float = field(default=-math.inf, init=False)
    _got_on_at: float = field(default=-math.inf, init=False)

    async def call(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """The answer, however often it takes.

        Raises:
            ApiError, httpx.TransportError: asking again makes no sense, or has made none for long.
        """
        refused_at: list[float] = []
        while True:
            await self._opened()
            try:
                answer = await ask()
            except (ApiError, httpx.TransportError) as error:
                refused_at.append(self.clock())
                self._close(error, refused_at)
            else:
                self._got_on_at = self.clock()
                return answer

    async def _opened(self) -> None:
        while (left := self._not_before - self.clock()) > 0:
            await self.sleep(left * random.uniform(1.0, 1.25))  # so that not all come at once

    def _close(self, error: ApiError | httpx.TransportError, refused_at: Sequence[float]) -> None:
        """Nobody asks for a while. Raises the error where nobody should ask at all."""
        pause_s = min(0.5 * 2.0 ** len(refused_at), _LONGEST_BACKOFF_S)
        if isinstance(error, ApiError):
            if not _is_for_now(error):
                raise error
            pause_s = min(error.retry_after_s or pause_s, _LONGEST_PAUSE_S)
        # A call may wait for long before it is refused: that is no time without an answer.
        if refused_at[-1] - max(refused_at[0], self._got_on_at) > self.patience_s:
            raise error
        self._not_before = max(self._not_before, refused_at[-1] + pause_s)


@dataclass(frozen=True, slots=True)
class Bulk:
    """One run over a manifest. `report` is called whenever a prompt has ended.

    The client should not retry by itself: the gate does.
    """

    client: AsyncClient
    manifest: Manifest
    gate: Gate
    report: Callable[[Counts], None] = lambda counts: None

    async def run(self, entries: Sequence[Entry], concurrency: int) -> Counts:
        """Bring every entry that is not done to its end.

        Raises:
            ApiError, httpx.TransportError: the server can't be asked, whatever the prompt.
        """
        pending = [entry for entry in entries if not self.manifest.is_done(entry)]
        counts = Counts(len(pending))
        line = iter(pending)
        workers = [
            asyncio.create_task(self._work(line, counts))
            for _ in range(min(concurrency, len(pending)))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return counts

    async def _work(self, line: Iterator[Entry], counts: Counts) -> None:
        for entry in line:
            if await self._is_made(entry):
                counts.done += 1
            else:
                counts.failed += 1
            self.report(counts)

    async def _is_made(self, entry: Entry) -> bool:
        """Draw it; True when its images lie in the folder."""
        for _ in range(_MAX_ATTEMPTS):
            record = await self._attempt(entry)
            self.manifest.add(entry, record)
            if record["status"] not in ("expired", "cancelled", "lost"):
                break
        return bool(record["status"] == "succeeded")

    async def _attempt(self, entry: Entry) -> dict[str, Any]:
        """How one job ended, as the manifest has it."""
        job = None
        try:
            job = await self.gate.call(partial(self._submit, entry))
            job = await self.gate.call(partial(self.client.wait, job.id))
            images = await self._images(entry, job) if job.status == "succeeded" else []
        except ApiError as error:
            if error.status in _ASKED_IN_VAIN or _is_for_now(error):
                raise
            # Its time to live was over, or the queue has lost it, perhaps while it was followed.
            is_lost = job is not None and error.status in (404, None)
            status = "lost" if is_lost else "refused"
            return _record(status, job, error={"code": error.code, "message": str(error)})
        if job.status == "succeeded" and not images:
            return _record("lost", job, error=_EXPIRED)
        failure = job.error.model_dump() if job.error else None
        return _record(job.status, job, images, error=failure)

    def _submit(self, entry: Entry) -> Awaitable[JobAnswer]:
        key = self.manifest.key(entry)
        return self.client.submit(entry.prompt, idempotency_key=key, **entry.parameters)

    async def _images(self, entry: Entry, job: JobAnswer) -> list[dict[str, Any]]:
        images = []
        for image in job.images:
            data = await self.gate.call(partial(self.client.image, job.id, image.rank))
            name = self.manifest.write_image(entry, image.rank, data)
            told = {"rank": image.rank, "candidate": image.candidate, "score": image.score}
            images.append({"file": name, **told})
        return images


def _is_for_now(error: ApiError) -> bool:
    """Whether the same call may do later. In the middle of a stream an error has no status."""
    is_of_server = error.status is None and error.type == "server_error"
    return error.status in _REFUSED_FOR_NOW or is_of_server


def _record(
    status: str,
    job: JobAnswer | None,
    images: Sequence[dict[str, Any]] = (),
    error: dict[str, Any] | None = None,
) -> dict[str, Any]:
    told = {} if job is None else {"job": job.id, "model": job.model, "seed": job.parameters.seed}
    return {"status": status, **told, "images": list(images), "error": error}
