"""Parts of a job that their workers lose or give back, on the queue alone."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from service.broker.claims import CrashEnd, LeaseState
from service.broker.keys import Key
from service.broker.parts import Committed
from service.jobs import (
    JobStatus,
    Progress,
)
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    MODEL,
    drawn,
    lag,
    make_queue,
    make_sweeper,
    put,
)
from tests.service.shared_job import in_thirds, names, nothing_is_left, part_of, workers


async def test_a_part_that_no_store_takes_may_run_beside_others_again(
    redis: Redis, clock: Clock
) -> None:
    queue, sharing = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    for attempt in (1, 2):
        assert await sharing[1].unstored(claims[1], "away") is CrashEnd.WAITS_AGAIN
        again = await part_of(sharing[1], 4, num_running=1)
        assert (again.part, again.is_isolated) == (claims[1].part, False)
        assert again.attempt == attempt + 1
        claims[1] = again
    assert await sharing[1].unstored(claims[1], "away") is CrashEnd.DEAD_LETTER
    view = await queue.get(job.id)
    assert view.error is not None
    assert (view.status, view.error.code) == (JobStatus.FAILED, "results_unavailable")


async def test_a_lost_part_costs_nothing_but_itself(redis: Redis, clock: Clock) -> None:
    queue, sharing = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    clock.advance(LEASE_S - 1)
    await sharing[1].renew([claims[1]], {})
    await sharing[2].renew([claims[2]], {})
    clock.advance(2)
    swept = await make_sweeper(redis, clock).sweep()
    assert (swept.redelivered, swept.isolated) == (1, 0)
    assert (await queue.get(job.id)).status is JobStatus.RUNNING
    again = await part_of(sharing[1], 99, num_running=1)
    assert (again.part, again.attempt, again.is_isolated) == (range(4), 2, False)
    assert await sharing[0].renew([claims[0]], {}) == {claims[0].id: LeaseState.LOST}
    assert await sharing[0].finish(claims[0], drawn(claims[0])) is Committed.STALE
    assert not await sharing[0].publish(claims[0], "partial_image", {}, b"old")
    both = await sharing[1].renew([claims[1], again], {})
    assert both == {claims[1].id: LeaseState.HELD, again.id: LeaseState.HELD}
    for claim in (claims[2], again, claims[1]):
        assert await sharing[1].finish(claim, drawn(claim))
    view = await queue.get(job.id)
    assert (view.status, view.attempts) == (JobStatus.SUCCEEDED, 2)
    assert await names(queue, job) == ["queued", "started", "succeeded"]


async def test_a_part_that_crashes_runs_alone_and_its_end_is_the_job_s(
    redis: Redis, clock: Clock
) -> None:
    queue, (one, two, three) = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    assert await one.crashed(claims[0], "boom") is CrashEnd.WAITS_AGAIN
    assert (await one.claim(free_rows=4, num_running=1)).must_drain
    assert await two.finish(claims[1], drawn(claims[1])) is Committed.PART
    for attempt in (2, 3):
        alone = await part_of(one, 1)
        assert (alone.part, alone.attempt, alone.is_isolated) == (range(4), attempt, True)
        end = await one.crashed(alone, "boom")
    assert end is CrashEnd.DEAD_LETTER
    view = await queue.get(job.id)
    assert (view.status, view.attempts) == (JobStatus.FAILED, 3)
    assert await three.renew([claims[2]], {}) == {claims[2].id: LeaseState.OVER}
    assert await three.finish(claims[2], drawn(claims[2])) is Committed.PART
    assert not await redis.exists(Key.IMAGES.of(job.id))
    assert await nothing_is_left(redis)


async def test_parts_that_are_handed_back_are_a_whole_job_again(redis: Redis, clock: Clock) -> None:
    queue, sharing = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    for number in (1, 0, 2):
        assert (await queue.get(job.id)).status is JobStatus.RUNNING
        assert await sharing[number].release(claims[number])
    view = await queue.get(job.id)
    assert (view.status, view.position, view.attempts) == (JobStatus.QUEUED, 0, 0)
    again = await part_of(sharing[0], 12)
    assert (again.part, again.attempt) == (None, 1)
    assert again.fence > max(claim.fence for claim in claims)
    assert await sharing[0].finish(again, drawn(again)) is Committed.ENDED


async def test_an_idle_worker_is_woken_by_a_part_that_comes_back(every_redis: Redis) -> None:
    queue, (one, two, idle) = make_queue(every_redis), workers(every_redis)
    await put(queue, num_candidates=12, n=2)
    claims = [await part_of(one, 6), await part_of(two, 6)]
    for _ in range(2):
        blocked = asyncio.create_task(idle.claim(free_rows=6, num_running=0, block_s=30))
        await asyncio.sleep(0)
        assert await two.release(claims[1])
        (again,) = (await blocked).claims
        assert again.part == range(6, 12)
        claims[1], two, idle = again, idle, two
        assert await lag(every_redis) == 0  # no job waits, and nothing says so
    assert await two.finish(claims[1], drawn(claims[1])) is Committed.PART
    assert await one.finish(claims[0], drawn(claims[0])) is Committed.ENDED
    assert await every_redis.xlen(Key.TICKETS.of(MODEL)) == 0


async def test_a_job_that_came_back_remembers_the_fate_of_its_parts(
    redis: Redis, clock: Clock
) -> None:
    queue, (one, two, _) = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    codes = {claims[1].id: Progress(64, 64, "pixels")}
    await two.renew([claims[1]], codes)
    await two.finish(claims[1], drawn(claims[1]))
    await one.crashed(claims[0], "boom")
    await one.release(claims[2])
    view = await queue.get(job.id)
    assert (view.status, view.attempts) == (JobStatus.QUEUED, 1)
    assert view.progress == Progress(64, 192, "waiting")
    plain = await part_of(two, 99)  # what crashed waits to be alone
    assert (plain.part, plain.attempt, plain.is_isolated) == (range(8, 12), 1, False)
    alone = await part_of(one, 99)
    assert (alone.part, alone.attempt, alone.is_isolated) == (range(4), 2, True)
    await one.finish(alone, drawn(alone))
    assert await two.finish(plain, drawn(plain)) is Committed.ENDED
    assert (await queue.get(job.id)).status is JobStatus.SUCCEEDED


async def test_a_rest_that_nobody_comes_for_waits_again(redis: Redis, clock: Clock) -> None:
    queue, sweeper = make_queue(redis, clock), make_sweeper(redis, clock)
    one, two, _ = workers(redis, clock)
    job = await put(queue, num_candidates=12, n=2)
    claim = await part_of(one, 8)
    assert await one.finish(claim, drawn(claim)) is Committed.PART
    await sweeper.sweep()
    assert (await queue.get(job.id)).status is JobStatus.RUNNING
    clock.advance(LEASE_S + 1)
    swept = await sweeper.sweep()
    view = await queue.get(job.id)
    assert (swept.redelivered, view.status, view.attempts) == (0, JobStatus.QUEUED, 1)
    rest = await part_of(two, 99)
    assert (rest.part, rest.attempt) == (range(8, 12), 1)
    assert await two.finish(rest, drawn(rest)) is Committed.ENDED
    assert len((await queue.get(job.id)).images) == 2


async def test_a_claim_of_parts_whose_answer_was_lost_is_not(
    redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.broker.leases.secrets.token_hex", lambda _: "the same")
    queue, (one, two, _) = make_queue(redis, clock), workers(redis, clock)
    await put(queue, num_candidates=2)
    await put(queue, num_candidates=12)
    claimed = await one.claim(free_rows=6, num_running=0)
    assert [claim.part for claim in claimed.claims] == [None, range(4)]
    again = await one.claim(free_rows=6, num_running=0)
    assert sorted(again.claims, key=lambda c: c.part is not None) == list(claimed.claims)
    assert (await part_of(two, 99)).part == range(4, 12)
