from __future__ import annotations

from redis.asyncio import Redis

from service.broker.admission import Limits
from service.broker.keys import Key
from service.jobs import Priority
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    MODEL,
    claim_one,
    make_job,
    make_leases,
    make_queue,
    make_sweeper,
    put,
    success,
)


async def order(redis: Redis) -> list[str]:
    """Key ids of all waiting jobs, in the order in which a worker gets them."""
    leases = make_leases(redis)
    return [claim.job.key_id for claim in (await leases.claim(free_rows=999, num_running=0)).claims]


async def test_priorities_come_first_then_arrival(redis: Redis) -> None:
    queue = make_queue(redis)
    for key_id, priority in (
        ("low", Priority.LOW), ("a", Priority.NORMAL), ("high", Priority.HIGH),
    ):  # fmt: skip
        await put(queue, key_id=key_id, priority=priority)
    assert await order(redis) == ["high", "a", "low"]


async def test_a_busy_key_does_not_starve_a_quiet_one(redis: Redis) -> None:
    queue = make_queue(redis)
    for _ in range(50):
        await put(queue, key_id="busy", num_candidates=4)
    await put(queue, key_id="quiet", num_candidates=4)
    await put(queue, key_id="quiet", num_candidates=4)
    first = (await order(redis))[:5]
    assert first.count("quiet") == 2


async def test_weights_share_the_machine(redis: Redis) -> None:
    queue = make_queue(redis)
    for key_id, weight in (("light", 1.0), ("heavy", 3.0)):
        limits = Limits(10_000, 100_000, 100_000, 1e6, 100_000, weight)
        for _ in range(40):
            await queue.enqueue(make_job(key_id=key_id), limits)
    first = (await order(redis))[:40]
    assert 28 <= first.count("heavy") <= 32


async def test_a_key_that_was_away_gets_no_credit_for_it(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    for _ in range(50):
        await put(queue, key_id="busy")
    for claim in (await leases.claim(free_rows=50, num_running=0)).claims:
        await leases.finish(claim, success())
    for key_id in ("quiet", "busy"):
        for _ in range(20):
            await put(queue, key_id=key_id)
    first = (await order(redis))[:20]
    assert 9 <= first.count("busy") <= 11
    assert await redis.zcard(Key.FINISH.of(MODEL, "1")) <= 1  # what is behind is forgotten


async def test_one_keys_jobs_keep_their_order(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    jobs = [await put(queue, num_candidates=1 + n % 7) for n in range(30)]
    claimed = await leases.claim(free_rows=999, num_running=0)
    assert [claim.job for claim in claimed.claims] == jobs


async def test_low_priority_work_does_not_cost_a_key_its_place(redis: Redis) -> None:
    queue = make_queue(redis)
    for _ in range(20):
        await put(queue, key_id="a", priority=Priority.LOW, num_candidates=50)
    await put(queue, key_id="a")
    for _ in range(3):
        await put(queue, key_id="b")
    assert "a" in (await order(redis))[:2]


async def test_a_redelivered_job_keeps_its_place(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    first = await put(queue)
    await claim_one(leases)
    for _ in range(3):
        await put(queue)
    clock.advance(LEASE_S + 1)
    await make_sweeper(redis, clock).sweep()
    assert (await queue.get(first.id)).position == 0
