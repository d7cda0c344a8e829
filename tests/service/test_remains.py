"""What lua/remains.lua leaves of a job that has ended: what callers see, and its room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from service.broker.parts import Committed
from service.jobs import CODES_FILE, Failed, Image, Progress, Succeeded
from service.store.object_store import ObjectStore, open_store
from tests.service.makers import (
    claim_one,
    drawn,
    make_leases,
    make_queue,
    progress_told,
    put,
    success,
)
from tests.stores import file_settings


async def test_who_follows_a_job_over_its_end_misses_no_picture(every_redis: Redis) -> None:
    """Progress but for the last goes with the end: also the event at which the client stands."""
    queue, leases = make_queue(every_redis), make_leases(every_redis)
    job = await put(queue)
    claim = await claim_one(leases)
    await leases.publish(claim, "progress", {"codes_done": 1})
    seen = queue.events(job.id)
    stands_at = [await anext(seen) for _ in range(3)][-1]
    assert stands_at.name == "progress"
    for index in range(2):
        await leases.publish(claim, "progress", {"codes_done": index + 2})
        await leases.publish(claim, "partial_image", {"index": index}, b"png%d" % index)
    await leases.finish(claim, success())
    later = [event async for event in queue.events(job.id, stands_at.id)]
    assert [event async for event in seen] == later
    told = [(event.name, event.image, event.data.get("codes_done")) for event in later]
    assert told[:-1] == [
        ("partial_image", b"png0", None),
        ("progress", None, 3),
        ("partial_image", b"png1", None),
    ]
    assert later[-1].name == "succeeded"
    whole = [event async for event in queue.events(job.id)]
    assert [event.name for event in whole[:2]] == ["queued", "started"]
    assert whole[2:] == later


async def test_pictures_that_need_much_room_keep_all_events(redis: Redis) -> None:
    """Next to them progress is nothing, and they would all have to be written again."""
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    claim = await claim_one(leases)
    for number in range(3):
        await leases.publish(claim, "progress", {"codes_done": number})
    await leases.publish(claim, "partial_image", {"index": 0}, b"x" * 9000)
    await leases.finish(claim, success())
    assert await progress_told(redis, job.id) == [0, 1, 2]
    assert [event.image async for event in queue.events(job.id)][5] == b"x" * 9000


async def test_how_far_a_failed_job_came_is_still_told(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    job = await put(queue)
    claim = await claim_one(leases)
    await leases.renew([claim], {claim.id: Progress(3, 16, "decode")})
    await leases.finish(claim, Failed("broken", "It broke."))
    assert (await queue.get(job.id)).progress == Progress(3, 16, "decode")


@pytest.fixture
def files(tmp_path: Path) -> ObjectStore:
    """A store of results that is a folder: Redis has their names alone."""
    store = open_store(file_settings(tmp_path))
    assert store is not None
    return store


async def taken(redis: Redis, job_id: str) -> int:
    """Bytes of Redis that a job has."""
    names: Any = await redis.keys(f"*{job_id}*")
    return sum([int(await redis.memory_usage(name, samples=0) or 0) for name in names])


@pytest.mark.parametrize(("n", "has_codes"), [(4, True), (10, False)])
async def test_a_finished_job_takes_less_than_four_kilobytes_of_redis(
    every_redis: Redis, files: ObjectStore, n: int, has_codes: bool
) -> None:
    """With all progress that a job may publish, and coarser looks at its pictures."""
    queue = make_queue(every_redis, store=files)
    leases = make_leases(every_redis, store=files)
    ids = {"request_id": "req_" + "c" * 26, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    prompt = "a red cube on a table " * 6
    job = await put(queue, prompt=prompt, n=n, num_candidates=32, codes_per_candidate=1280, **ids)
    (claim,) = (await leases.claim(free_rows=32, num_running=0)).claims
    for part in range(20):
        told = {"codes_done": 2048 * part, "codes_total": 40960, "stage": "decode"}
        await leases.publish(claim, "progress", told)
    await leases.renew([claim], {claim.id: Progress(40960, 40960, "decode")})
    coarser = {f"depth={depth}": b"x" for depth in (1, 2, 3)}
    coarser |= {CODES_FILE: b"[[1]]"} if has_codes else {}
    images = tuple(Image(rank, rank, 0.123456, b"x" * 300_000, coarser) for rank in range(n))
    stages = ("queue_wait", "prefill", "decode", "pixels", "rerank", "encode")
    timings = {stage: 1 / 7 for stage in stages}
    views = tuple(("depth", str(depth)) for depth in (1, 2, 3, 4))
    assert await leases.finish(claim, Succeeded(images, "256x256", timings, views=views))
    assert await taken(every_redis, job.id) < 4000
    events = [event async for event in queue.events(job.id)]
    assert [event.name for event in events] == ["queued", "started", "progress", "succeeded"]
    assert events[2].data["codes_done"] == 2048 * 19
    view = await queue.get(job.id)
    assert (view.progress, view.timings_s["decode"]) == (Progress(40960, 40960, "done"), 0.142857)


async def test_nor_does_one_in_many_parts(redis: Redis, files: ObjectStore) -> None:
    leases = make_leases(redis, store=files)
    job = await put(make_queue(redis), prompt="a red cube on a table " * 6, num_candidates=24)
    claims = [await claim_one(leases, 1) for _ in range(24)]
    for claim in claims:
        assert await leases.finish(claim, drawn(claim))
    assert await taken(redis, job.id) < 4000
    assert await leases.finish(claims[7], drawn(claims[7])) is Committed.PART  # as if unheard
