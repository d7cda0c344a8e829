"""Redis with its memory full: what was accepted goes on, as far as that needs next to no memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from service.broker.claims import LeaseState
from service.broker.sweep import Swept
from service.errors import QueueUnavailable
from service.jobs import JobStatus
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    claim_one,
    drawn,
    make_leases,
    make_queue,
    make_sweeper,
    put,
    success,
)


@asynccontextmanager
async def full(redis: Redis) -> AsyncIterator[None]:
    """For as long as this lasts; a new job is refused."""
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable) as caught:
            await put(make_queue(redis))
        assert caught.value.code == "queue_memory_full"
        yield
    finally:
        await redis.config_set("maxmemory", 0)


async def test_healthy_workers_keep_their_jobs(every_redis: Redis, clock: Clock) -> None:
    leases, sweeper = make_leases(every_redis, clock), make_sweeper(every_redis, clock)
    whole = await put(make_queue(every_redis, clock))
    in_parts = await put(make_queue(every_redis, clock), num_candidates=2)
    claims = [await claim_one(leases) for _ in range(3)]
    async with full(every_redis):
        for _ in range(3):
            clock.advance(LEASE_S - 1)
            states = await leases.renew(claims, {})
            assert set(states.values()) == {LeaseState.HELD}
            assert await sweeper.sweep() == Swept()
    for claim in claims:
        assert await leases.finish(claim, drawn(claim) if claim.part else success())
    for job in (whole, in_parts):
        view = await make_queue(every_redis, clock).get(job.id)
        assert (view.status, view.attempts) == (JobStatus.SUCCEEDED, 1)


async def test_what_dead_workers_held_is_taken_back_or_given_up(
    every_redis: Redis, clock: Clock
) -> None:
    queue, leases = make_queue(every_redis, clock), make_leases(every_redis, clock)
    sweeper = make_sweeper(every_redis, clock)
    job = await put(queue)
    for _ in range(3):
        await claim_one(leases)
        async with full(every_redis):
            clock.advance(LEASE_S + 1)
            swept = await sweeper.sweep()
            assert swept.redelivered + swept.dead == 1
    assert swept.dead == 1
    assert (await queue.get(job.id)).status is JobStatus.FAILED
