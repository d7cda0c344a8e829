"""Jobs that their callers don't want any more."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from service.broker.claims import LeaseState
from service.broker.keys import Key
from service.broker.parts import Committed
from service.errors import (
    ImageNotFound,
)
from service.jobs import JobStatus
from tests.service.makers import (
    MODEL,
    claim_one,
    lag,
    make_leases,
    make_queue,
    put,
    success,
)


async def test_cancelling_a_waiting_job_takes_it_out(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue, num_candidates=9)
    kept = await put(queue)
    cancelled = await queue.cancel(job.id)
    assert (cancelled.view.status, cancelled.was_live) == (JobStatus.CANCELLED, True)
    assert (await queue.depth(MODEL)).candidates == 1
    assert await lag(redis) == 1
    assert (await claim_one(leases)).job == kept
    assert (await leases.claim(free_rows=8, num_running=1)).claims == ()


async def test_cancelling_a_running_job_tells_its_worker(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    claim = await claim_one(leases)
    heard = leases.cancellations()
    first = asyncio.create_task(anext(heard))
    while not (await redis.pubsub_numsub(Key.CONTROL.value))[0][1]:
        await asyncio.sleep(0.01)
    assert (await queue.cancel(job.id)).was_live
    assert await asyncio.wait_for(first, 30) == job.id
    await heard.aclose()
    assert await leases.renew([claim], {}) == {claim.id: LeaseState.CANCELLED}
    assert await leases.finish(claim, success()) is Committed.CANCELLED
    again = await queue.cancel(job.id)
    assert (again.view.status, again.was_live) == (JobStatus.CANCELLED, False)
    with pytest.raises(ImageNotFound):
        await queue.image(job.id, 0)


async def test_cancelling_an_ended_job_changes_nothing(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    await leases.finish(await claim_one(leases), success())
    cancelled = await queue.cancel(job.id)
    assert (cancelled.view.status, cancelled.was_live) == (JobStatus.SUCCEEDED, False)
