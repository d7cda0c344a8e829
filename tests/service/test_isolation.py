"""Jobs that crash what runs beside them are run alone, and in the end not at all."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from service.broker.claims import CrashEnd
from service.broker.leases import Leases
from service.broker.sweep import Sweeper
from service.jobs import JobStatus
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    MODEL,
    POLICY,
    claim_one,
    make_leases,
    make_queue,
    make_sweeper,
    put,
    success,
)


async def test_a_lease_taken_back_twice_isolates_and_then_buries(
    redis: Redis, clock: Clock
) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    sweeper = make_sweeper(redis, clock)
    job = await put(queue)
    for is_isolated in (False, False, True):
        claim = await claim_one(leases)
        assert claim.is_isolated is is_isolated
        clock.advance(LEASE_S + 1)
        swept = await sweeper.sweep()
    assert swept.dead == 1
    view = await queue.get(job.id)
    assert view.status is JobStatus.FAILED
    assert view.error is not None
    assert view.error.code == "worker_lost"


async def test_a_crashed_batch_runs_again_one_by_one(redis: Redis) -> None:
    queue = make_queue(redis)
    one, two = (make_leases(redis, worker_id=f"w{n}") for n in (1, 2))
    for _ in range(3):
        await put(queue)
    for claim in (await one.claim(free_rows=3, num_running=0)).claims:
        assert await one.crashed(claim, "RuntimeError: poison")
    plain = await put(queue)

    claimed = await one.claim(free_rows=3, num_running=2)
    assert (claimed.claims, claimed.must_drain) == ((), True)
    other = await two.claim(free_rows=3, num_running=2)  # only one worker makes room
    assert ([claim.job for claim in other.claims], other.must_drain) == ([plain], False)

    for _ in range(3):
        (claim,) = (await one.claim(free_rows=3, num_running=0)).claims
        assert claim.is_isolated
        assert await one.finish(claim, success())
    assert not (await one.claim(free_rows=3, num_running=0)).claims


async def test_a_job_that_crashes_alone_ends_in_failure(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    ends = []
    for attempt in (1, 2, 3):
        claim = await claim_one(leases)
        assert claim.attempt == attempt
        ends.append(await leases.crashed(claim, "RuntimeError: /secret/path"))
    assert ends == [CrashEnd.WAITS_AGAIN, CrashEnd.WAITS_AGAIN, CrashEnd.DEAD_LETTER]
    assert await leases.crashed(claim, "once more") is CrashEnd.STALE
    view = await queue.get(job.id)
    assert view.status is JobStatus.FAILED
    assert view.error is not None
    assert view.error.code == "worker_crashed"
    assert "secret" not in view.error.message
    assert (await queue.depth(MODEL)).candidates == 0


async def test_an_idle_worker_runs_an_isolated_job_at_once(redis: Redis) -> None:
    queue = make_queue(redis)
    busy, idle = (make_leases(redis, worker_id=f"w{n}") for n in (1, 2))
    job = await put(queue)
    await busy.crashed(await claim_one(busy), "boom")
    assert (await busy.claim(free_rows=1, num_running=1)).must_drain
    assert (await claim_one(idle)).job == job
    assert not (await busy.claim(free_rows=1, num_running=1)).must_drain


async def test_a_neighbour_of_poison_gets_a_try_alone_whatever_the_limit(
    redis: Redis, clock: Clock
) -> None:
    once = POLICY.model_copy(update={"max_attempts": 1})
    queue = make_queue(redis, clock)
    leases = Leases(redis, model=MODEL, worker_id="w1", policy=once, clock=clock)
    sweeper = Sweeper(redis, policy=once, clock=clock)
    crashed, lost = await put(queue), await put(queue)
    await leases.crashed(await claim_one(leases), "boom")
    await leases.claim(free_rows=1, num_running=0)  # the crashed one, which is lost as well
    clock.advance(LEASE_S + 1)
    await sweeper.sweep()
    assert (await queue.get(crashed.id)).status is JobStatus.FAILED
    await leases.claim(free_rows=1, num_running=0)
    clock.advance(LEASE_S + 1)
    assert (await sweeper.sweep()).isolated == 1
    claim = await claim_one(leases)
    assert (claim.job, claim.is_isolated, claim.attempt) == (lost, True, 2)
    assert await leases.finish(claim, success())


@pytest.mark.parametrize("max_attempts", [2, 3, 4])
async def test_a_job_that_kills_its_workers_is_started_so_often_and_last_alone(
    redis: Redis, clock: Clock, max_attempts: int
) -> None:
    policy = POLICY.model_copy(update={"max_attempts": max_attempts})
    queue = make_queue(redis, clock)
    leases = Leases(redis, model=MODEL, worker_id="w1", policy=policy, clock=clock)
    sweeper = Sweeper(redis, policy=policy, clock=clock)
    job = await put(queue)
    attempts = []
    while (await queue.get(job.id)).status is JobStatus.QUEUED:
        claim = await claim_one(leases)
        attempts.append((claim.attempt, claim.is_isolated))
        clock.advance(LEASE_S + 1)
        await sweeper.sweep()
    assert [attempt for attempt, _ in attempts] == list(range(1, len(attempts) + 1))
    assert len(attempts) <= max_attempts
    assert attempts[-1][1]
