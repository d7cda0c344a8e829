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
