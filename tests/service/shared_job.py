"""Workers that share a job, for tests of its parts."""

from __future__ import annotations

from redis.asyncio import Redis

from service.broker.claims import Claim
from service.broker.keys import Key
from service.broker.leases import Leases
from service.broker.queue import Queue
from service.jobs import (
    Job,
)
from service.store.object_store import ObjectStore
from tests.conftest import Clock
from tests.service.makers import (
    MODEL,
    make_leases,
    make_queue,
    put,
)

INDEXES = (Key.REST, Key.ALONE, Key.PARTS, Key.LEASES, Key.WAITING, Key.ISOLATED)


def workers(
    redis: Redis, clock: Clock | None = None, store: ObjectStore | None = None
) -> list[Leases]:
    return [make_leases(redis, clock, f"w{number}", store) for number in range(3)]


async def part_of(leases: Leases, rows: int, num_running: int = 0) -> Claim:
    """The one claim that so many free rows bring."""
    (claim,) = (await leases.claim(free_rows=rows, num_running=num_running)).claims
    return claim


async def in_thirds(redis: Redis, clock: Clock, **changes: object) -> tuple[Job, list[Claim]]:
    """A job of twelve candidates, and the parts of it that three workers have."""
    job = await put(make_queue(redis, clock), num_candidates=12, **changes)
    return job, [await part_of(worker, 4) for worker in workers(redis, clock)]


async def names(queue: Queue, job: Job) -> list[str]:
    return [event.name async for event in queue.events(job.id)]


async def nothing_is_left(redis: Redis) -> bool:
    return not await redis.exists(*(key.of(MODEL) for key in INDEXES))
