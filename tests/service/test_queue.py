from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from service.broker.claims import LeaseState
from service.broker.keys import GROUP, Key
from service.broker.parts import Committed
from service.config.results import ResultsSettings
from service.errors import (
    DeadlinePassed,
    ImageNotFound,
    InvalidRequest,
    JobNotFound,
    QueueUnavailable,
)
from service.jobs import Failed, JobStatus, Priority, Progress
from service.store.object_store import open_store
from tests.conftest import Clock
from tests.servers import free_port
from tests.service.makers import (
    MODEL,
    ROOMY,
    claim_one,
    lag,
    make_job,
    make_leases,
    make_queue,
    make_sweeper,
    put,
    success,
)
from tests.stores import KINDS


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_a_job_goes_through_all_states(
    every_redis: Redis, clock: Clock, results: ResultsSettings
) -> None:
    store = open_store(results)
    queue = make_queue(every_redis, clock, store=store)
    leases = make_leases(every_redis, clock, store=store)
    job = make_job(num_candidates=4, n=2, priority=Priority.HIGH, codes_per_candidate=16)
    enqueued = await queue.enqueue(job, ROOMY)
    assert (enqueued.job, enqueued.position, enqueued.existed) == (job, 0, False)
    view = await queue.get(job.id)
    assert (view.status, view.position, view.attempts) == (JobStatus.QUEUED, 0, 0)

    clock.advance(2)
    claim = await claim_one(leases, 4)
    assert (claim.job, claim.attempt, claim.is_isolated) == (job, 1, False)
    assert (claim.waited_s, claim.remaining_s) == (2.0, 298.0)
    clock.advance(1)
    states = await leases.renew([claim], {claim.id: Progress(8, 64, "step")})
    assert states == {claim.id: LeaseState.HELD}
    view = await queue.get(job.id)
    assert (view.status, view.position) == (JobStatus.RUNNING, None)
    assert view.progress == Progress(8, 64, "step")
    assert view.eta_s == pytest.approx(7.0)

    assert await leases.finish(claim, success(b"bytes", n=2))
    view = await queue.get(job.id)
    assert view.status is JobStatus.SUCCEEDED
    assert view.is_terminal
    assert view.job == job
    assert [(i.rank, i.candidate, i.num_bytes) for i in view.images] == [(0, 0, 6), (1, 1, 6)]
    assert view.timings_s == {"step": 0.5}
    assert view.size == "32x32"
    assert view.progress == Progress(64, 64, "done")
    assert (view.created_ms, view.started_ms) == (clock.now_ms - 3000, clock.now_ms - 1000)
    assert (view.finished_ms, view.expires_ms) == (clock.now_ms, clock.now_ms + 3_600_000)
    assert await queue.image(job.id, 0) == b"bytes0"
    assert await queue.image(job.id, 1) == b"bytes1"
    with pytest.raises(ImageNotFound):
        await queue.image(job.id, 2)


async def test_a_worker_failure_reaches_the_caller(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    assert await leases.finish(await claim_one(leases), Failed("out_of_memory", "Too large."))
    view = await queue.get(job.id)
    assert view.status is JobStatus.FAILED
    assert view.error is not None
    assert (view.error.code, view.error.message) == ("out_of_memory", "Too large.")


async def test_depth_counts_jobs_candidates_and_age(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    for _ in range(3):
        await put(queue, num_candidates=5)
        clock.advance(1)
    depth = await queue.depth(MODEL)
    assert (depth.waiting, depth.running, depth.candidates) == (3, 0, 15)
    assert depth.oldest_age_s == 3.0
    assert depth.drain_per_s is None
    await leases.finish(await claim_one(leases, 5), success())
    await claim_one(leases, 5)
    depth = await queue.depth(MODEL)
    assert (depth.waiting, depth.running, depth.candidates) == (1, 1, 10)
    assert depth.oldest_age_s == 1.0


async def test_position_and_eta_follow_the_queue(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    await put(queue, num_candidates=4)
    claim = await claim_one(leases, 4)
    clock.advance(2)
    await leases.finish(claim, success())  # 2 candidates per second
    jobs = [await put(queue, num_candidates=4) for _ in range(3)]
    views = [await queue.get(job.id) for job in jobs]
    assert [view.position for view in views] == [0, 1, 2]
    assert [view.eta_s for view in views] == pytest.approx([2.0, 4.0, 6.0], rel=0.1)
    await queue.cancel(jobs[0].id)
    assert (await queue.get(jobs[2].id)).position == 1


async def test_other_keys_do_not_see_a_job(redis: Redis) -> None:
    queue = make_queue(redis)
    job = await put(queue, key_id="a")
    assert (await queue.get(job.id, "a")).job == job
    with pytest.raises(JobNotFound):
        await queue.get(job.id, "b")
    with pytest.raises(JobNotFound):
        await queue.cancel(job.id, "b")
    with pytest.raises(JobNotFound):
        await queue.get("job_0")
    assert (await queue.get(job.id)).status is JobStatus.QUEUED


async def test_wait_returns_when_the_job_ends(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    await queue.start()
    try:
        job = await put(queue)
        waiting = asyncio.create_task(queue.wait(job.id, 30))
        await leases.finish(await claim_one(leases), success())
        assert (await waiting).status is JobStatus.SUCCEEDED
        assert (await queue.wait(job.id, 30)).status is JobStatus.SUCCEEDED
        late = await put(queue)
        with pytest.raises(DeadlinePassed):
            await queue.wait(late.id, 0.05)
    finally:
        await queue.close()


async def test_wait_works_without_any_wake_up(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)  # never started: no subscription
    job = await put(queue)
    waiting = asyncio.create_task(queue.wait(job.id, 30))
    await leases.finish(await claim_one(leases), success())
    assert (await waiting).status is JobStatus.SUCCEEDED


async def test_events_replay_and_follow(every_redis: Redis) -> None:
    queue, leases = make_queue(every_redis), make_leases(every_redis)
    await queue.start()
    try:
        job = await put(queue)
        claim = await claim_one(leases)
        seen = queue.events(job.id)
        first, second = await anext(seen), await anext(seen)
        assert [first.name, second.name] == ["queued", "started"]
        following = asyncio.create_task(anext(seen))
        assert await leases.publish(claim, "partial_image", {"index": 0}, b"\x00png")
        partial = await following
        assert (partial.name, partial.data, partial.image) == (
            "partial_image", {"index": 0}, b"\x00png",
        )  # fmt: skip
        await leases.finish(claim, success())
        assert [event.name async for event in seen] == ["succeeded"]
        replay = [event.name async for event in queue.events(job.id, second.id)]
        assert replay == ["partial_image", "succeeded"]
    finally:
        await queue.close()


async def test_events_end_although_the_last_one_was_seen(redis: Redis) -> None:
    queue = make_queue(redis)
    job = await put(queue)
    await queue.cancel(job.id)
    events = [event async for event in queue.events(job.id)]
    assert [event.name for event in events] == ["queued", "cancelled"]
    assert [event async for event in queue.events(job.id, events[-1].id)] == []
    with pytest.raises(InvalidRequest):
        await anext(queue.events(job.id, "yesterday"))
    with pytest.raises(JobNotFound):
        await anext(queue.events("job_0"))


async def test_jobs_past_their_deadline_expire_in_any_state(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    sweeper = make_sweeper(redis, clock)
    running = await put(queue, deadline_s=5.0)
    claim = await claim_one(leases)
    waiting = await put(queue, deadline_s=5.0)
    kept = await put(queue, deadline_s=50.0)
    clock.advance(4.9)
    assert (await sweeper.sweep()).expired == 0
    clock.advance(0.2)
    assert (await sweeper.sweep()).expired == 2
    for job in (running, waiting):
        assert (await queue.get(job.id)).status is JobStatus.EXPIRED
    assert await leases.renew([claim], {}) == {claim.id: LeaseState.EXPIRED}
    assert await leases.finish(claim, success()) is Committed.LATE
    assert (await claim_one(leases)).job == kept


async def test_a_late_job_is_never_claimed_nor_renewed(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    await put(queue, deadline_s=5.0)
    claim = await claim_one(leases)
    late = await put(queue, deadline_s=5.0)
    clock.advance(6)
    assert await leases.renew([claim], {}) == {claim.id: LeaseState.EXPIRED}
    assert (await leases.claim(free_rows=1, num_running=0)).claims == ()
    assert (await queue.get(late.id)).status is JobStatus.EXPIRED


async def test_without_redis_every_verb_says_so(redis: Redis) -> None:
    away = Redis.from_url(f"redis://127.0.0.1:{free_port()}/0", retry=None)
    queue = make_queue(away)
    for verb in (
        queue.enqueue(make_job(), ROOMY),
        queue.get("job_0"),
        queue.image("job_0", 0),
        queue.cancel("job_0"),
        queue.depth(MODEL),
        anext(queue.events("job_0")),
    ):
        with pytest.raises(QueueUnavailable):
            await verb
    await away.aclose()


async def test_prompts_of_all_kinds_survive(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    for prompt in ("a café \U0001f600 \x00 \ud800 '\"\\", 817, None):
        job = await put(queue, prompt=prompt)
        claim = await claim_one(leases)
        assert claim.job == job
        await leases.finish(claim, success())


async def test_lag_is_the_depth_even_with_ends_out_of_order(every_redis: Redis) -> None:
    queue, leases = make_queue(every_redis), make_leases(every_redis)
    jobs = [await put(queue) for _ in range(6)]
    assert await lag(every_redis) == 6
    claims = [await claim_one(leases) for _ in range(4)]
    assert await lag(every_redis) == 2
    for index in (2, 0, 3):
        await leases.finish(claims[index], success())
        assert await lag(every_redis) == 2
    pending = await every_redis.xpending(Key.TICKETS.of(MODEL), GROUP)
    assert pending["pending"] == 1
    await leases.release(claims[1])
    assert await lag(every_redis) == 3
    await queue.cancel(jobs[5].id)
    assert await lag(every_redis) == 2
    assert await every_redis.xlen(Key.TICKETS.of(MODEL)) == 2


async def test_scripts_survive_being_forgotten(every_redis: Redis) -> None:
    queue, leases = make_queue(every_redis), make_leases(every_redis)
    job = await put(queue)
    await every_redis.script_flush()
    claim = await claim_one(leases)
    await every_redis.script_flush()
    assert await leases.finish(claim, success())
    await every_redis.script_flush()
    assert (await queue.get(job.id)).status is JobStatus.SUCCEEDED
