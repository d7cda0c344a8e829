from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from service.broker.admission import Idempotency, Limits
from service.broker.keys import Key
from service.errors import (
    IdempotencyMismatch,
    KeyShareExceeded,
    QueueFull,
    RateLimited,
)
from service.jobs import Priority
from tests.conftest import Clock
from tests.service.makers import (
    MODEL,
    ROOMY,
    claim_one,
    make_job,
    make_leases,
    make_queue,
    put,
    success,
)


def limits(**changes: float) -> Limits:
    values = {
        "max_depth": 100,
        "max_candidates": 1000,
        "key_candidates": 1000,
        "key_rate_per_s": 1000.0,
        "key_burst": 1000,
    }
    return Limits(**values | changes)  # type: ignore[arg-type]  # whole numbers where ints are due


async def test_a_full_queue_refuses_with_the_measured_wait(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    await queue.enqueue(make_job(num_candidates=10), limits())
    claim = await claim_one(leases, 10)
    clock.advance(5)
    await leases.finish(claim, success())  # 10 candidates in 5 s: 2 per second
    for _ in range(2):
        await queue.enqueue(make_job(num_candidates=20), limits())
    with pytest.raises(QueueFull) as refusal:
        await queue.enqueue(make_job(), limits(max_depth=2))
    assert refusal.value.retry_after_s == 10.0  # one job of 20 candidates must leave
    with pytest.raises(QueueFull) as refusal:
        await queue.enqueue(make_job(num_candidates=8), limits(max_candidates=44))
    assert refusal.value.retry_after_s == 2.0  # 4 too many


async def test_without_a_measurement_the_wait_is_a_guess(redis: Redis) -> None:
    queue = make_queue(redis)
    await queue.enqueue(make_job(), limits())
    with pytest.raises(QueueFull) as refusal:
        await queue.enqueue(make_job(), limits(max_depth=1))
    assert refusal.value.retry_after_s == 10.0


async def test_idle_time_does_not_slow_the_measured_rate(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    for _ in range(30):
        await put(queue, num_candidates=4)
        claim = await claim_one(leases, 4)
        clock.advance(2)
        await leases.finish(claim, success())
        clock.advance(100)
    depth = await queue.depth(MODEL)
    assert depth.drain_per_s == pytest.approx(2.0, rel=0.05)


async def test_one_key_is_held_to_its_share_and_rate(redis: Redis, clock: Clock) -> None:
    queue = make_queue(redis, clock)
    share = limits(key_candidates=10)
    await queue.enqueue(make_job(key_id="a", num_candidates=8), share)
    with pytest.raises(KeyShareExceeded):
        await queue.enqueue(make_job(key_id="a", num_candidates=3), share)
    await queue.enqueue(make_job(key_id="b", num_candidates=8), share)

    slow = limits(key_rate_per_s=0.5, key_burst=2)
    for _ in range(2):
        await queue.enqueue(make_job(key_id="c"), slow)
    with pytest.raises(RateLimited) as refusal:
        await queue.enqueue(make_job(key_id="c"), slow)
    assert refusal.value.retry_after_s == 2.0
    clock.advance(2)
    await queue.enqueue(make_job(key_id="c"), slow)
    with pytest.raises(RateLimited):
        await queue.enqueue(make_job(key_id="c"), slow)


async def test_a_refused_job_costs_nothing(redis: Redis, clock: Clock) -> None:
    queue = make_queue(redis, clock)
    await queue.enqueue(make_job(key_id="a"), limits())
    tight = limits(max_depth=1, key_rate_per_s=0.001, key_burst=2)
    before = sorted(await redis.keys("*"))
    for _ in range(5):
        with pytest.raises(QueueFull):
            await queue.enqueue(make_job(key_id="a"), tight)
    assert sorted(await redis.keys("*")) == before
    assert (await queue.depth(MODEL)).candidates == 1


async def test_many_at_once_never_pass_a_limit(every_redis: Redis) -> None:
    queue = make_queue(every_redis)
    jobs = [make_job(num_candidates=3) for _ in range(40)]
    tight = limits(max_candidates=50)
    answers = await asyncio.gather(
        *(queue.enqueue(job, tight) for job in jobs), return_exceptions=True
    )
    assert sum(isinstance(answer, QueueFull) for answer in answers) == 40 - 16
    assert (await queue.depth(MODEL)).candidates == 48


async def test_the_same_idempotency_key_gives_the_same_job(redis: Redis) -> None:
    queue = make_queue(redis, result_ttl_s=1.0)
    key = Idempotency("order-1", "digest-of-body")
    first, *rest = await asyncio.gather(
        *(queue.enqueue(make_job(seed=seed), ROOMY, key) for seed in range(8))
    )
    assert {answer.job.id for answer in rest} == {first.job.id}
    assert sum(answer.existed for answer in [first, *rest]) == 7
    assert (await queue.depth(MODEL)).waiting == 1
    with pytest.raises(IdempotencyMismatch):
        await queue.enqueue(make_job(), ROOMY, Idempotency("order-1", "another"))
    other = await queue.enqueue(make_job(key_id="b"), ROOMY, key)
    assert not other.existed  # keys of different callers don't meet

    await queue.cancel(first.job.id)
    again = await queue.enqueue(make_job(), ROOMY, key)
    assert again.job.id == first.job.id
    kept_ms = await redis.pttl(Key.JOB.of(first.job.id))
    assert kept_ms > 23 * 3_600_000  # as long as the key is, although results last one second


async def test_an_idempotent_repeat_is_free_when_the_queue_is_full(redis: Redis) -> None:
    queue = make_queue(redis)
    key = Idempotency("order-1", "d")
    tight = limits(max_depth=1, key_burst=1, key_rate_per_s=0.001)
    first = await queue.enqueue(make_job(), tight, key)
    assert (await queue.enqueue(make_job(), tight, key)).job.id == first.job.id


async def test_enqueueing_the_same_job_twice_is_once(redis: Redis) -> None:
    queue = make_queue(redis)
    job = make_job()
    await queue.enqueue(job, ROOMY)
    await queue.enqueue(job, ROOMY)
    assert (await queue.depth(MODEL)).waiting == 1


async def test_the_idempotency_key_is_stored_hashed(redis: Redis) -> None:
    queue = make_queue(redis)
    await queue.enqueue(make_job(), ROOMY, Idempotency("secret-order", "d"))
    assert not [key for key in await redis.keys("*") if b"secret-order" in key]


async def test_a_job_that_could_only_end_too_late_is_refused_at_once(
    redis: Redis, clock: Clock
) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    for _ in range(4):  # 2 candidates a second
        await queue.enqueue(make_job(num_candidates=20), limits())
    claim = await claim_one(leases, 20)
    clock.advance(10)
    await leases.finish(claim, success())
    assert (await queue.depth(MODEL)).drain_per_s == pytest.approx(2.0, rel=0.2)

    in_time = make_job(num_candidates=2, deadline_s=30.0)  # 60 candidates are before it
    await queue.enqueue(in_time, limits())  # nobody has waited long: the rate may be too low
    clock.advance(20)
    with pytest.raises(QueueFull) as refusal:
        await queue.enqueue(make_job(num_candidates=2, deadline_s=30.0), limits())
    assert refusal.value.retry_after_s is not None
    await queue.enqueue(make_job(num_candidates=2, deadline_s=600.0), limits())
    urgent = make_job(num_candidates=2, deadline_s=30.0, priority=Priority.HIGH)
    await queue.enqueue(urgent, limits())  # nothing is before it
    other_key = make_job(num_candidates=2, deadline_s=30.0, key_id="quiet")
    await queue.enqueue(other_key, limits())  # its turn comes soon


async def test_a_queue_that_stands_still_refuses_nobody_for_the_time(
    redis: Redis, clock: Clock
) -> None:
    queue = make_queue(redis, clock)
    for _ in range(5):
        await queue.enqueue(make_job(num_candidates=20, deadline_s=60.0), limits())
        clock.advance(10)  # no worker yet: nothing is known of its rate
