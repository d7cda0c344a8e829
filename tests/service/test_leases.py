from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from service.broker.claims import Claim, LeaseState
from service.broker.keys import GROUP, Key
from service.broker.leases import Leases
from service.errors import QueueUnavailable
from service.jobs import Expired, JobStatus, Progress
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    MODEL,
    ROOMY,
    claim_one,
    make_job,
    make_leases,
    make_queue,
    make_sweeper,
    put,
    success,
)


async def test_a_claim_fills_the_free_rows_and_overfills_them_with_what_has_no_parts(
    redis: Redis,
) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    jobs = [await put(queue, num_candidates=3), await put(queue, num_candidates=96, min_score=0.1)]
    await put(queue)
    claimed = await leases.claim(free_rows=4, num_running=0)
    assert [claim.job for claim in claimed.claims] == jobs
    assert [claim.part for claim in claimed.claims] == [None, None]
    assert not claimed.must_drain
    assert (await leases.claim(free_rows=0, num_running=2)).claims == ()


async def test_two_workers_never_get_the_same_job(every_redis: Redis) -> None:
    queue = make_queue(every_redis)
    jobs = {(await put(queue)).id for _ in range(40)}
    workers = [make_leases(every_redis, worker_id=f"w{n}") for n in range(5)]
    answers = await asyncio.gather(
        *(worker.claim(free_rows=2, num_running=0) for worker in workers * 5)
    )
    got = [claim.job.id for answer in answers for claim in answer.claims]
    assert len(got) == 40
    assert set(got) == jobs


async def test_a_claim_whose_answer_was_lost_is_not(redis: Redis) -> None:
    queue = make_queue(redis)
    jobs = [await put(queue) for _ in range(3)]
    async with unheard_claim(redis, None) as leases:
        first = await leases.claim(free_rows=2, num_running=0)
        assert {claim.job.id for claim in first.claims} == {job.id for job in jobs[:2]}
        assert {claim.attempt for claim in first.claims} == {1}
        second = await leases.claim(free_rows=2, num_running=2)
        assert [claim.job for claim in second.claims] == jobs[2:]


async def test_an_unheard_claim_that_another_worker_took_over_stays_there(
    redis: Redis, clock: Clock
) -> None:
    queue, other = make_queue(redis, clock), make_leases(redis, clock, "w2")
    jobs = {(await put(queue)).id for _ in range(2)}
    async with unheard_claim(redis, clock) as leases:
        clock.advance(LEASE_S + 1)
        await make_sweeper(redis, clock).sweep()
        taken = await other.claim(free_rows=2, num_running=0)
        assert {claim.job.id for claim in taken.claims} == jobs
        assert (await leases.claim(free_rows=2, num_running=0)).claims == ()


@asynccontextmanager
async def unheard_claim(redis: Redis, clock: Clock | None) -> AsyncIterator[Leases]:
    """Verbs of a worker that has claimed two jobs without hearing of it."""
    port = redis.connection_pool.connection_kwargs["port"]
    async with deaf_proxy(port) as (deaf_port, hear):
        client = Redis(port=deaf_port, socket_timeout=1.5, retry=Retry(NoBackoff(), 0))
        leases = make_leases(client, clock)
        with pytest.raises(QueueUnavailable):
            await leases.claim(free_rows=2, num_running=0)
        while (await make_queue(redis, clock).depth(MODEL)).running < 2:  # it did arrive
            await asyncio.sleep(0.01)
        hear.set()
        yield leases
        await client.aclose()


@asynccontextmanager
async def deaf_proxy(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A way to the server that loses all answers to scripts until the event is set."""
    hear = asyncio.Event()

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while data := await reader.read(65536):
            if hear.is_set() or not is_answer or b"claims" not in data:
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            carry(reader, server_writer, is_answer=False),
            carry(server_reader, writer, is_answer=True),
        )

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], hear
    server.close()


async def test_an_idle_worker_is_woken_by_a_new_job(every_redis: Redis) -> None:
    queue, leases = make_queue(every_redis), make_leases(every_redis)
    for _ in range(2):  # a second time, when the ticket stream is there already
        blocked = asyncio.create_task(leases.claim(free_rows=1, num_running=0, block_s=30))
        await asyncio.sleep(0)
        job = await put(queue)
        (claim,) = (await blocked).claims
        assert claim.job == job
        await leases.finish(claim, success())
    assert (await leases.claim(free_rows=1, num_running=0, block_s=0.5)).claims == ()


async def test_a_lost_lease_brings_the_job_back(every_redis: Redis, clock: Clock) -> None:
    queue, sweeper = make_queue(every_redis, clock), make_sweeper(every_redis, clock)
    first, second = (make_leases(every_redis, clock, f"w{n}") for n in (1, 2))
    job = await put(queue)
    stale = await claim_one(first)
    clock.advance(LEASE_S - 1)
    assert (await sweeper.sweep()).redelivered == 0
    await first.renew([stale], {})
    clock.advance(LEASE_S - 1)
    assert (await sweeper.sweep()).redelivered == 0
    clock.advance(2)
    assert (await sweeper.sweep()).redelivered == 1
    assert (await queue.get(job.id)).status is JobStatus.QUEUED

    claim = await claim_one(second)
    assert (claim.attempt, claim.fence) == (2, stale.fence + 1)
    assert await first.renew([stale], {}) == {stale.id: LeaseState.LOST}
    assert not await first.publish(stale, "partial_image", {}, b"old")
    assert not await first.finish(stale, success(b"old"))
    assert not await first.release(stale)
    assert not await first.crashed(stale, "old")
    assert await second.finish(claim, success(b"new"))
    assert not await first.finish(stale, success(b"old"))
    assert await queue.image(job.id, 0) == b"new0"
    assert (await queue.get(job.id)).attempts == 2
    names = [event.name async for event in queue.events(job.id)]
    assert names == ["queued", "started", "queued", "started", "succeeded"]


async def test_finishing_twice_is_once(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue, num_candidates=5)
    claim = await claim_one(leases, 5)
    assert await leases.finish(claim, success(b"a"))
    assert await leases.finish(claim, success(b"a"))  # as after a lost answer
    assert (await queue.depth(MODEL)).candidates == 0
    names = [event.name async for event in queue.events(job.id)]
    assert names.count("succeeded") == 1


async def test_a_claim_says_how_many_jobs_came_too_late(every_redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(every_redis, clock), make_leases(every_redis, clock)
    late = [await put(queue, deadline_s=1.0) for _ in range(2)]
    clock.advance(2)
    good = await put(queue)
    claimed = await leases.claim(free_rows=8, num_running=0)
    assert ([claim.job for claim in claimed.claims], claimed.num_expired) == ([good], 2)
    assert {(await queue.get(job.id)).status for job in late} == {JobStatus.EXPIRED}
    assert (await leases.claim(free_rows=8, num_running=1)).num_expired == 0
    await put(queue, deadline_s=1.0)
    clock.advance(2)
    assert (await leases.claim(free_rows=8, num_running=1, block_s=0.1)).num_expired == 1


async def test_no_time_is_negative_after_a_failover_to_a_clock_that_is_behind(
    redis: Redis, clock: Clock
) -> None:
    """A histogram's sum that falls is a restart to Prometheus."""
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    job = await put(queue)
    clock.advance(-2)
    claim = await claim_one(leases)
    assert claim.waited_s == 0
    clock.advance(-2)
    await leases.renew([claim], {claim.id: Progress(4, 16, "decode")})
    assert (await queue.get(job.id)).eta_s == 0


async def test_a_handed_back_job_loses_neither_place_nor_attempt(redis: Redis) -> None:
    queue = make_queue(redis)
    one, two = (make_leases(redis, worker_id=f"w{n}") for n in (1, 2))
    job = await put(queue)
    await put(queue)
    claim = await claim_one(one)
    await one.renew([claim], {claim.id: Progress(5, 10, "step")})
    assert await one.release(claim)
    view = await queue.get(job.id)
    assert (view.status, view.position, view.attempts) == (JobStatus.QUEUED, 0, 0)
    assert view.progress == Progress(0, 0, "waiting")
    again = await claim_one(two)
    assert (again.job, again.attempt) == (job, 1)
    assert again.fence > claim.fence


async def test_a_worker_may_say_that_a_job_is_late(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    assert await leases.finish(await claim_one(leases), Expired())
    assert (await queue.get(job.id)).status is JobStatus.EXPIRED
    assert (await queue.depth(MODEL)).drain_per_s is None


async def test_renewing_keeps_the_ticket_young(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    await put(queue)
    claim = await claim_one(leases)
    stream = Key.TICKETS.of(MODEL)
    entry: Any
    (entry,) = await redis.xpending_range(stream, GROUP, "-", "+", 9)
    await redis.xclaim(stream, GROUP, "w1", 0, [entry["message_id"]], idle=60_000)
    await leases.renew([claim], {})
    (entry,) = await redis.xpending_range(stream, GROUP, "-", "+", 9)
    assert entry["time_since_delivered"] < 60_000
    assert entry["times_delivered"] <= 2  # renewals do not count as deliveries


async def test_ranks_with_gaps_are_refused(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    await put(queue)
    claim = await claim_one(leases)
    outcome = success(n=2)
    gap = type(outcome)(outcome.images[1:], outcome.size, outcome.timings_s)
    with pytest.raises(ValueError, match="ranks"):
        await leases.finish(claim, gap)


async def test_a_full_redis_loses_no_job(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    await put(queue)
    claim: Claim = await claim_one(leases)
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(QueueUnavailable):
            await leases.finish(claim, success(b"x" * 1000))
        with pytest.raises(QueueUnavailable):
            await queue.enqueue(make_job(), ROOMY)
    finally:
        await redis.config_set("maxmemory", "0")
    assert await leases.finish(claim, success())
