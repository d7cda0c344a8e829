"""The caller's side of the queue: put a job in, look at it, wait for it, cancel it.

One Queue per API process. What workers do to jobs is in leases.py; how Redis is laid out is in
keys.py and in the scripts of lua/. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis

from service.broker.admission import Enqueued, Idempotency, Limits, entry_of, refusal
from service.broker.keys import Key
from service.broker.redis_connection import backoff_s, translated_errors
from service.broker.results import Results
from service.broker.scripts import Clock, Scripts
from service.broker.views import job_view
from service.broker.wakeups import Wakeups
from service.errors import (
    DeadlinePassed,
    IdempotencyMismatch,
    InvalidRequest,
    JobNotFound,
    QueueUnavailable,
)
from service.jobs import TERMINAL, Job, JobStatus, JobView
from service.store.object_store import ObjectStore, StoredFile

_POLL_S = 1.0  # how often a waiter looks without being woken
EVENT_ID = "[0-9]{1,15}(-[0-9]{1,9})?"  # a pattern: the whole of an id, or its time alone


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job after a cancellation. `was_live`: this call ended it; else it had ended before."""

    view: JobView
    was_live: bool


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
    """How full a model's queue is; the dead letters are those of all models."""

    waiting: int
    oldest_age_s: float
    running: int
    candidates: int
    dead_letters: int
    drain_per_s: float | None = None


class Queue:
    """Verbs of the API process. Call `start` before and `close` after use.

    Every verb raises QueueUnavailable when Redis does not answer. `store` has the finished pictures
    that are not in Redis. `clock` is for tests only.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        result_ttl_s: float,
        idempotency_ttl_s: float,
        store: ObjectStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, clock)
        self._results = Results(redis, store)
        self._wakeups = Wakeups(redis)
        self._result_ttl_ms = math.ceil(result_ttl_s * 1000)
        self._idempotency_ttl_ms = math.ceil(idempotency_ttl_s * 1000)

    async def start(self) -> None:
        """Subscribe to the wake-ups; returns at once and reconnects in the background."""
        self._wakeups.start()

    async def close(self) -> None:
        """End the subscription; leaves the Redis client to its owner."""
        await self._wakeups.close()

    async def enqueue(
        self,
        job: Job,
        limits: Limits,
        idempotency: Idempotency | None = None,
        source: bytes | None = None,
    ) -> Enqueued:
        """Accept the job or raise why not now, with Retry-After: QueueFull, RateLimited,
        KeyShareExceeded, WebhooksFull.

        One script checks all limits and stores the job, so nothing is half accepted and there is
        no moment in which an idempotency key is taken but its job is not there. IdempotencyMismatch
        when the key came with another body. Calling it again with the same job id changes nothing.
        `source` is the picture that the job begins with; it lives as long as the job may need it.
        """
        more: dict[str, Any] = {}
        if idempotency is not None:
            more["keep_ms"] = max(self._result_ttl_ms, self._idempotency_ttl_ms)
            more["idempotency"] = idempotency.arguments(self._idempotency_ttl_ms)
        blobs = (job.to_json(),) if source is None else (job.to_json(), source)
        reply = await self._ask(job, limits, more, *blobs)
        if reply["existed"]:
            job = (await self.get(reply["id"])).job
        return Enqueued(
            job,
            int(reply["position"]),
            bool(reply["existed"]),
            int(reply["remaining"]),
            int(reply["created_ms"]),
        )

    async def check(self, job: Job, limits: Limits) -> None:
        """Raise what `enqueue` would raise now, but take no place and nothing of the key's rate."""
        await self._ask(job, limits, {"only_asks": True})

    async def _ask(
        self, job: Job, limits: Limits, more: dict[str, Any], *blobs: bytes | str
    ) -> dict[str, Any]:
        """What the script of admission says; raises its refusal."""
        entry = entry_of(job, self._result_ttl_ms, limits.weight)
        arguments = entry | {"limits": asdict(limits)} | more
        reply: dict[str, Any] = json.loads(await self._scripts.run("enqueue", arguments, *blobs))
        if reply["status"] != "ok":
            raise refusal(reply["status"], reply.get("retry_after_s"))
        return reply

    async def known_job(self, key_id: str, idempotency: Idempotency) -> Job | None:
        """The job that this key and body made, if any and if it is still there.

        IdempotencyMismatch when the key came with another body.
        """
        name = Key.IDEMPOTENCY.of(key_id, idempotency.key_digest)
        async with translated_errors():
            stored: Any = await self._redis.hmget(name, ["digest", "job"])
        digest, job_id = stored
        if job_id is None:
            return None
        try:
            job = (await self.get(job_id.decode())).job
        except JobNotFound:
            return None
        if (digest or b"").decode() != idempotency.digest:
            raise IdempotencyMismatch
        return job

    async def get(self, job_id: str, key_id: str | None = None) -> JobView:
        """The job as it stands. JobNotFound when it is gone or, with `key_id`, another's."""
        reply = await self._scripts.run("view", {"id": job_id})
        if reply is None:
            raise JobNotFound
        view = job_view(reply)
        if key_id is not None and view.job.key_id != key_id:
            raise JobNotFound
        return view

    async def wait(self, job_id: str, timeout_s: float) -> JobView:
        """Wait for the end of the job, through Redis outages; DeadlinePassed after `timeout_s`.

        A cancelled, failed or expired job is returned like any other: look at `status`.
        """
        give_up = time.monotonic() + timeout_s
        failures = 0
        with self._wakeups.watch(job_id, only_end=True) as watch:
            while True:
                try:
                    if await self._has_ended(job_id):
                        return await self.get(job_id)
                    failures = 0
                except QueueUnavailable:
                    failures += 1
                    await asyncio.sleep(min(backoff_s(failures), _POLL_S))
                left = give_up - time.monotonic()
                if left <= 0:
                    raise DeadlinePassed
                if failures == 0:
                    await watch.changed(min(left, _POLL_S))

    async def _has_ended(self, job_id: str) -> bool:
        async with translated_errors():
            state: Any = await self._redis.hget(Key.JOB.of(job_id), "state")
        if state is None:
            raise JobNotFound
        return JobStatus(state.decode()) in TERMINAL

    async def image(self, job_id: str, rank: int, query: str | None = None) -> bytes:
        """File bytes of one picture, or by `query` a coarser look; ImageNotFound without any.

        ResultsUnavailable when the store that has them does not answer.
        """
        return await self._results.image(job_id, rank, query)

    async def file(self, job_id: str, rank: int, query: str | None = None) -> bytes | StoredFile:
        """The same, in pieces where a store has it."""
        return await self._results.file(job_id, rank, query)

    async def addresses(self, view: JobView) -> list[str]:
        """Where anybody may read the job's images in their store, by rank; empty without such.

        Nor are there any of a job with views: those are asked for by more behind the address.
        """
        num_images = 0 if view.views else len(view.images)
        return await self._results.addresses(view.job.id, num_images)

    async def events(self, job_id: str, after: str = "0") -> AsyncGenerator[Event, None]:
        """All events behind `after`, then new ones as they come, ending with the terminal one.

        JobNotFound when the job is gone; InvalidRequest when `after` is no event id.
        """
        if not re.fullmatch(EVENT_ID, after):
            raise InvalidRequest("This is no event id.", param="Last-Event-ID")
        with self._wakeups.watch(job_id, only_end=False) as watch:
            while True:
                # The state is read first: an event that comes later wakes the next round.
                has_ended = await self._has_ended(job_id)
                for event in await self._events_after(job_id, after):
                    after = event.id
                    yield event
                    if event.name in TERMINAL:
                        return
                if has_ended:
                    return
                await watch.changed(_POLL_S)

    async def _events_after(self, job_id: str, after: str) -> list[Event]:
        async with translated_errors():
            entries: Any = await self._redis.xrange(Key.EVENTS.of(job_id), min=f"({after}")
        return [_event(entry_id, entry) for entry_id, entry in entries]

    async def cancel(self, job_id: str, key_id: str | None = None) -> Cancelled:
        """Cancel it whether it waits or runs, and return it; one that has ended stays as it is.

        JobNotFound as in `get`.
        """
        arguments = {"id": job_id} if key_id is None else {"id": job_id, "key_id": key_id}
        found = await self._scripts.run("cancel", arguments)
        if not found:
            raise JobNotFound
        return Cancelled(await self.get(job_id), was_live=found == 2)

    async def models(self) -> set[str]:
        """The models that had jobs in the last week."""
        async with translated_errors():
            members: Any = await self._redis.smembers(Key.MODELS.of())
        return {member.decode() for member in members}

    async def depth(self, model: str) -> Depth:
        """How many jobs wait and run, and for how long the oldest has waited."""
        reply = json.loads(await self._scripts.run("depth", {"model": model}))
        return Depth(oldest_age_s=reply.pop("oldest_age_ms") / 1000, **reply)


def _event(entry_id: bytes, entry: dict[bytes, bytes]) -> Event:
    return Event(
        id=entry_id.decode(),
        name=entry[b"name"].decode(),
        data=json.loads(entry.get(b"data", b"{}")),
        image=entry.get(b"image"),
    )
