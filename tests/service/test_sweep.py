from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from service.broker.sweep import Swept
from service.jobs import JobStatus
from service.metrics import SweepMetrics
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    MODEL,
    claim_one,
    make_leases,
    make_queue,
    make_sweeper,
    put,
)


async def test_an_empty_redis_needs_no_sweeping(redis: Redis) -> None:
    assert await make_sweeper(redis).sweep() == Swept()
    assert await redis.keys("*") == []


async def test_all_models_are_swept(redis: Redis, clock: Clock) -> None:
    queue = make_queue(redis, clock)
    for model in ("one", "two", "naïve %s"):
        await put(queue, model=model, deadline_s=1.0)
    clock.advance(2)
    assert await make_sweeper(redis, clock).sweep() == Swept(expired=3)


async def test_many_sweepers_at_once_do_it_once(every_redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(every_redis, clock), make_leases(every_redis, clock)
    for _ in range(30):
        await put(queue)
    await leases.claim(free_rows=30, num_running=0)
    clock.advance(LEASE_S + 1)
    sweepers = [make_sweeper(every_redis, clock) for _ in range(8)]
    swept = await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))
    assert sum(one.redelivered for one in swept) == 30
    depth = await queue.depth(MODEL)
    assert (depth.waiting, depth.running, depth.candidates) == (30, 0, 30)


async def test_more_than_one_batch_of_late_jobs(redis: Redis, clock: Clock) -> None:
    queue, sweeper = make_queue(redis, clock), make_sweeper(redis, clock)
    for _ in range(130):
        await put(queue, deadline_s=1.0)
    clock.advance(2)
    assert (await sweeper.sweep()).expired == 100
    assert (await sweeper.sweep()).expired == 30
    assert (await queue.depth(MODEL)).candidates == 0


async def test_a_late_job_is_counted_whether_or_not_a_worker_holds_it(
    redis: Redis, clock: Clock
) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    held = await put(queue, deadline_s=2.0)
    await claim_one(leases)
    clock.advance(3)
    assert await make_sweeper(redis, clock).sweep() == Swept(expired=1)
    assert (await queue.get(held.id)).status is JobStatus.EXPIRED

    lost = await put(queue, deadline_s=LEASE_S + 1)
    await claim_one(leases)
    clock.advance(LEASE_S + 2)
    assert await make_sweeper(redis, clock).sweep() == Swept(expired=1)
    assert (await queue.get(lost.id)).status is JobStatus.EXPIRED


async def test_each_lost_lease_is_counted_once_also_of_a_job_that_runs_alone_from_then_on(
    redis: Redis, clock: Clock
) -> None:
    registry = CollectorRegistry()
    metrics = SweepMetrics(registry)
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    await put(queue)
    await put(queue, num_candidates=2)
    for _ in range(2):
        for _ in range(3):  # one of them, and each candidate of the other
            await claim_one(leases)
        clock.advance(LEASE_S + 1)
        (await make_sweeper(redis, clock).sweep()).count(metrics)
    assert registry.get_sample_value("mindalle_lease_losses_total") == 6
    assert registry.get_sample_value("mindalle_redeliveries_total") == 6
