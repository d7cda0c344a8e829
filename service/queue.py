"""The caller's side of the queue: put a job in, look at it, wait for it, cancel it.

One Queue per API process. What workers do to jobs is in leases.py; how Redis is laid out is in
keys.py and in the scripts of lua/. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from redis.asyncio import Redis

from service.jobs import Job, JobView


@dataclass(frozen=True, slots=True)
class Limits:
    """What admission allows; all are checked in one step with the enqueueing itself.

    `max_depth` jobs waiting and `max_candidates` in flight per model; one API key may hold
    `key_candidates` of those, sends `key_rate_per_s` jobs after a burst of `key_burst`, and has
    `weight` in the fair order.
    """

    max_depth: int
    max_candidates: int
    key_candidates: int
    key_rate_per_s: float
    key_burst: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The caller's Idempotency-Key and a digest of the body that came with it."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The accepted job. `existed`: an earlier call with the same idempotency key made it."""

    job: Job
    position: int
    existed: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job. `id` is what Last-Event-ID sends back; `data` is JSON-ready.

    Names: queued, started, progress, partial_image, succeeded, failed, cancelled, expired. Only
    partial_image has `image` bytes; its data has `index` (from 0) and `candidate`.
    """

    id: str
    name: str
    data: dict[str, object]
    image: bytes | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How full a model's queue is."""

    waiting: int
    oldest_age_s: float
    running: int
    candidates: int
    drain_per_s: float | None


class Queue:
    """Verbs of the API process. Call `start` before and `close` after use.

    Every verb raises QueueUnavailable when Redis does not answer.
    """

    def __init__(self, redis: Redis, *, result_ttl_s: float, idempotency_ttl_s: float) -> None:
        self._redis = redis

    async def start(self) -> None:
        """Subscribe to the wake-ups; returns at once and reconnects in the background."""
        raise NotImplementedError

    async def close(self) -> None:
        """End the subscription; leaves the Redis client to its owner."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Raise QueueUnavailable unless Redis answers."""
        raise NotImplementedError

    async def enqueue(
        self, job: Job, limits: Limits, idempotency: Idempotency | None = None
    ) -> Enqueued:
        """Accept the job or raise QueueFull, RateLimited, KeyShareExceeded (with Retry-After).

        One script checks all limits and stores the job, so nothing is half accepted and there is
        no moment in which an idempotency key is taken but its job is not there. IdempotencyMismatch
        when the key came with another body. Calling it again with the same job id changes nothing.
        """
        raise NotImplementedError

    async def get(self, job_id: str, key_id: str | None = None) -> JobView:
        """The job as it stands. JobNotFound when it is gone or, with `key_id`, another's."""
        raise NotImplementedError

    async def wait(self, job_id: str, timeout_s: float) -> JobView:
        """Wait for the end of the job, through Redis outages; DeadlinePassed after `timeout_s`.

        A cancelled, failed or expired job is returned like any other: look at `status`.
        """
        raise NotImplementedError

    async def image(self, job_id: str, rank: int) -> bytes:
        """File bytes of one picture; ImageNotFound when there are none."""
        raise NotImplementedError

    def events(self, job_id: str, after: str = "0") -> AsyncIterator[Event]:
        """All events behind `after`, then new ones as they come, ending with the terminal one.

        JobNotFound when the job is gone; InvalidRequest when `after` is no event id.
        """
        raise NotImplementedError

    async def cancel(self, job_id: str, key_id: str | None = None) -> JobView:
        """Cancel it whether it waits or runs, and return it; one that has ended stays as it is.

        JobNotFound as in `get`.
        """
        raise NotImplementedError

    async def depth(self, model: str) -> Depth:
        """How many jobs wait and run, and for how long the oldest has waited."""
        raise NotImplementedError
