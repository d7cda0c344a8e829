"""Jobs in parts, on the queue alone: several workers share the candidates of one job."""

from __future__ import annotations

import json

import pytest
from redis.asyncio import Redis

from service.broker.claims import Claimed, LeaseState
from service.broker.keys import Key
from service.broker.parts import Committed
from service.config.results import ResultsSettings
from service.jobs import (
    Expired,
    Failed,
    Image,
    Job,
    JobStatus,
    Priority,
    Progress,
    Succeeded,
)
from service.store.object_store import open_store
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    MODEL,
    drawn,
    make_queue,
    make_sweeper,
    progress_told,
    put,
    score_of,
)
from tests.service.shared_job import in_thirds, names, nothing_is_left, part_of, workers
from tests.stores import KINDS


async def test_each_worker_takes_what_its_rows_hold_and_the_rest_is_first_in_line(
    redis: Redis,
) -> None:
    queue, (one, two, three) = make_queue(redis), workers(redis)
    large, later = await put(queue, num_candidates=96), await put(queue)
    urgent = await put(queue, priority=Priority.HIGH)
    first = await one.claim(free_rows=32, num_running=0)
    assert parts(first) == [(urgent, None), (large, range(31))]
    more_urgent = await put(queue, priority=Priority.HIGH)
    second = await two.claim(free_rows=32, num_running=0)
    assert parts(second) == [(more_urgent, None), (large, range(31, 62))]
    third = await three.claim(free_rows=40, num_running=0)
    assert parts(third) == [(large, range(62, 96)), (later, None)]
    fences = [claim.fence for claimed in (first, second, third) for claim in claimed.claims]
    assert sorted(fences) == [1, 1, 1, 1, 2, 3]
    view, depth = await queue.get(large.id), await queue.depth(MODEL)
    assert (view.status, view.attempts) == (JobStatus.RUNNING, 1)
    assert (depth.waiting, depth.running, depth.candidates) == (0, 4, 99)


def parts(claimed: Claimed) -> list[tuple[Job, range | None]]:
    return [(claim.job, claim.part) for claim in claimed.claims]


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_the_last_part_ends_the_job_with_the_best_of_all(
    redis: Redis, clock: Clock, results: ResultsSettings
) -> None:
    store = open_store(results)
    queue, sharing = make_queue(redis, clock, store=store), workers(redis, clock, store)
    job, claims = await in_thirds(redis, clock, n=5)
    clock.advance(3)
    ends = []
    for worker, claim in zip(sharing, claims, strict=True):
        ends += [await worker.finish(claim, drawn(claim)) for _ in range(2)]  # as if unheard
    assert ends == [Committed.PART] * 4 + [Committed.ENDED] * 2
    view = await queue.get(job.id)
    best = sorted(range(12), key=lambda candidate: (-score_of(job, candidate), candidate))[:5]
    assert view.status is JobStatus.SUCCEEDED
    assert [image.candidate for image in view.images] == best
    assert [image.score for image in view.images] == [score_of(job, c) for c in best]
    assert [await queue.image(job.id, rank) for rank in range(5)] == [b"%d" % c for c in best]
    assert [image.num_bytes for image in view.images] == [len(str(c)) for c in best]
    assert await queue.image(job.id, 4, "v=1") == b"~"
    assert await redis.hlen(Key.IMAGES.of(job.id)) == 10
    stored = json.loads(await redis.hget(Key.JOB.of(job.id), "parts") or b"{}")
    assert stored["list"] == [{"fence": fence} for fence in (1, 2, 3)]  # for answers that are lost
    assert (view.size, view.timings_s) == ("32x32", {"queue_wait": 0.0, "step": 0.5})
    assert await names(queue, job) == ["queued", "started", "succeeded"]
    depth = await queue.depth(MODEL)
    assert depth.candidates == 0
    assert depth.drain_per_s == pytest.approx(4.0, rel=0.1)
    assert await nothing_is_left(redis)


async def test_scores_keep_their_digits_and_what_has_none_keeps_its_order(
    redis: Redis, clock: Clock
) -> None:
    queue, sharing = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock, n=4)
    scores = (None, 0.1 + 0.2, -1e-7)
    for number in (2, 0, 1):
        images = tuple(Image(r, 4 * number + r, scores[number], b"x") for r in range(4))
        await sharing[number].finish(claims[number], Succeeded(images, "32x32", {}))
    shown = [(image.candidate, image.score) for image in (await queue.get(job.id)).images]
    assert shown == [(candidate, 0.1 + 0.2) for candidate in range(4, 8)]

    job, claims = await in_thirds(redis, clock, n=2)
    for number in (2, 1, 0):
        images = tuple(Image(r, 4 * number + r, None, b"x") for r in range(2))
        await sharing[number].finish(claims[number], Succeeded(images, "32x32", {}))
    shown = [(image.candidate, image.score) for image in (await queue.get(job.id)).images]
    assert shown == [(0, None), (1, None)]


@pytest.mark.parametrize("is_begun", [True, False])
async def test_a_cancelled_job_leaves_nothing_of_its_parts(
    redis: Redis, clock: Clock, is_begun: bool
) -> None:
    queue, sharing = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    await sharing[0].finish(claims[0], drawn(claims[0]))
    if not is_begun:
        for claim in claims[1:]:
            await sharing[0].release(claim)
    cancelled = await queue.cancel(job.id)
    assert (cancelled.view.status, cancelled.was_live) == (JobStatus.CANCELLED, True)
    assert not await redis.exists(Key.IMAGES.of(job.id), Key.LOAD.of(MODEL))
    assert await nothing_is_left(redis)
    if is_begun:
        states = await sharing[1].renew([claims[1]], {})
        assert states == {claims[1].id: LeaseState.CANCELLED}
        assert await sharing[1].finish(claims[1], drawn(claims[1])) is Committed.PART


async def test_a_late_job_ends_for_all_its_parts_and_is_counted_once(
    redis: Redis, clock: Clock
) -> None:
    queue, sharing = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock, deadline_s=5.0)
    clock.advance(6)
    states = await sharing[0].renew([claims[0]], {})
    assert states == {claims[0].id: LeaseState.EXPIRED}
    assert (await make_sweeper(redis, clock).sweep()).expired == 1
    assert (await queue.get(job.id)).status is JobStatus.EXPIRED
    assert await sharing[1].finish(claims[1], Expired()) is Committed.PART
    assert await nothing_is_left(redis)


async def test_a_part_that_fails_ends_the_job(redis: Redis, clock: Clock) -> None:
    queue, sharing = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    await sharing[0].finish(claims[0], drawn(claims[0]))
    failed = Failed("invalid_value", "It can't be drawn.")
    assert await sharing[1].finish(claims[1], failed) is Committed.ENDED
    assert await sharing[2].finish(claims[2], failed) is Committed.PART
    assert (await queue.get(job.id)).error == failed
    assert not await redis.exists(Key.IMAGES.of(job.id))


async def test_progress_is_that_of_all_parts_and_never_falls_back(
    redis: Redis, clock: Clock
) -> None:
    queue, sharing = make_queue(redis, clock), workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    steps = [(0, 8, "prefill"), (0, 64, "pixels"), (1, 8, "decode"), (1, 64, "pixels")]
    seen = []
    for number, codes_done, stage in steps:
        progress = {claims[number].id: Progress(codes_done, 64, stage)}
        await sharing[number].renew([claims[number]], progress)
        view = (await queue.get(job.id)).progress
        seen.append((view.codes_done, view.codes_total, view.stage))
    await sharing[2].renew([claims[2]], {claims[2].id: Progress(64, 64, "pixels")})
    assert seen == [
        (8, 192, "decode"), (64, 192, "decode"), (72, 192, "decode"), (128, 192, "decode"),
    ]  # fmt: skip
    assert (await queue.get(job.id)).progress == Progress(192, 192, "pixels")
    clock.advance(LEASE_S - 1)
    for number in (1, 2):
        assert await sharing[number].finish(claims[number], drawn(claims[number]))
    clock.advance(2)
    await make_sweeper(redis, clock).sweep()  # the first part is drawn again
    assert (await queue.get(job.id)).progress.codes_done == 128
    again = await part_of(sharing[1], 4)
    await sharing[1].renew([again], {again.id: Progress(32, 64, "decode")})
    assert await progress_told(redis, job.id) == [64, 72, 128, 192]
    assert await sharing[1].finish(again, drawn(again)) is Committed.ENDED
    assert await progress_told(redis, job.id) == [192]  # what led to the end goes


async def test_what_the_hash_says_of_parts_is_json_that_holds_no_picture(
    redis: Redis, clock: Clock
) -> None:
    sharing = workers(redis, clock)
    job, claims = await in_thirds(redis, clock)
    await sharing[0].finish(claims[0], drawn(claims[0]))
    raw = await redis.hget(Key.JOB.of(job.id), "parts")
    assert raw is not None
    stored = json.loads(raw)
    assert [part["state"] for part in stored["list"]] == ["done", "held", "held"]
    assert len(raw) < 600


async def test_a_job_whose_parts_an_operator_deleted_is_forgotten(
    redis: Redis, clock: Clock
) -> None:
    queue, (one, _, _) = make_queue(redis, clock), workers(redis, clock)
    job = await put(queue, num_candidates=12)
    await part_of(one, 4)
    await redis.delete(Key.JOB.of(job.id))
    assert (await one.claim(free_rows=4, num_running=0)).claims == ()
    clock.advance(LEASE_S + 1)
    await make_sweeper(redis, clock).sweep()
    assert await nothing_is_left(redis)
