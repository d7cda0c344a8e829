from __future__ import annotations

from redis.asyncio import Redis

from service.broker.waiting import has_waiting
from tests.service.makers import MODEL, claim_one, make_leases, make_queue, put


async def test_what_waits_is_seen_and_what_runs_is_not(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    assert not await has_waiting(redis, MODEL)
    await put(queue)
    assert await has_waiting(redis, MODEL)
    assert not await has_waiting(redis, "other")
    claim = await claim_one(leases)
    assert not await has_waiting(redis, MODEL)
    await leases.crashed(claim, "boom")  # it must run alone now
    assert await has_waiting(redis, MODEL)


async def test_the_rest_of_a_job_that_runs_is_seen_at_once(redis: Redis) -> None:
    await put(make_queue(redis), num_candidates=3)
    assert (await claim_one(make_leases(redis), 2)).part == range(2)
    assert await has_waiting(redis, MODEL)
    await claim_one(make_leases(redis), 2)
    assert not await has_waiting(redis, MODEL)
