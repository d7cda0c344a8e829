from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.leases import Leases
from service.broker.result_files import ResultFiles
from service.config.results import ResultsSettings
from service.errors import ImageNotFound, QueueUnavailable, ResultsUnavailable
from service.jobs import CODES_FILE, Failed, Image, Succeeded
from service.store.object_store import ObjectStore, open_store
from tests.conftest import Clock
from tests.servers import free_port
from tests.service.live_api import LiveApi
from tests.service.makers import (
    LEASE_S,
    claim_one,
    drawn,
    make_leases,
    make_queue,
    make_sweeper,
    put,
    success,
)
from tests.service.runs import make_run
from tests.stores import KINDS, Relay, S3Server, file_settings, s3_settings


class Kept:
    """A folder as the store of results, and what lies in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        store = open_store(file_settings(folder))
        assert store is not None
        self.store: ObjectStore = store

    @property
    def names(self) -> list[str]:
        """Job, fence and file of each."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(self.folder)) for path in files)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "results")


@pytest.fixture
def relay(s3_server: S3Server) -> Iterator[Relay]:
    with Relay(s3_server) as between:
        yield between


def worker(redis: Redis, clock: Clock, kept: Kept, name: str = "w1") -> Leases:
    return make_leases(redis, clock, name, kept.store)


async def looked_after(redis: Redis) -> list[bytes]:
    jobs: Any = await redis.zrange(Key.FILES.of(), 0, -1)
    return list(jobs)


async def test_files_are_named_by_job_fence_and_candidate(
    redis: Redis, clock: Clock, kept: Kept
) -> None:
    queue, leases = make_queue(redis, clock, store=kept.store), worker(redis, clock, kept)
    job = await put(queue, n=2, output_format="webp")
    coarser = {"depth=1": b"coarse", CODES_FILE: b"[[1]]"}
    images = (Image(0, 5, 0.5, b"best", coarser), Image(1, 2, 0.1, b"second"))
    assert await leases.finish(await claim_one(leases), Succeeded(images, "32x32", {}))
    files = ["5.webp", "5.json", "5_1.webp", "2.webp"]
    assert kept.names == sorted(f"{job.id}/1/{name}" for name in files)
    assert await queue.image(job.id, 0) == b"best"
    assert await queue.image(job.id, 1) == b"second"
    assert await queue.image(job.id, 0, "depth=1") == b"coarse"
    assert await queue.image(job.id, 0, CODES_FILE) == b"[[1]]"
    with pytest.raises(ImageNotFound):
        await queue.image(job.id, 1, "depth=1")


async def test_a_lost_claim_takes_its_files_out_and_no_others(
    redis: Redis, clock: Clock, kept: Kept
) -> None:
    queue = make_queue(redis, clock, store=kept.store)
    first, second = (worker(redis, clock, kept, f"w{n}") for n in (1, 2))
    job = await put(queue)
    stale = await claim_one(first)
    clock.advance(LEASE_S + 1)
    await make_sweeper(redis, clock).sweep()
    claim = await claim_one(second)
    assert not await first.finish(stale, success(b"old"))
    assert kept.names == []
    assert await second.finish(claim, success(b"new"))
    assert await second.finish(claim, success(b"new"))  # as after a lost answer
    assert not await first.finish(stale, success(b"old"))
    assert kept.names == [f"{job.id}/{claim.fence}/0.png"]
    assert await queue.image(job.id, 0) == b"new0"


async def test_what_a_dead_worker_left_is_removed_when_its_job_has_ended(
    redis: Redis, clock: Clock, kept: Kept
) -> None:
    """It died between put and commit; the job went on, and failed elsewhere."""
    queue, leases = make_queue(redis, clock, store=kept.store), worker(redis, clock, kept)
    files = ResultFiles(redis, kept.store, clock)
    job = await put(queue, deadline_s=200.0)
    claim = await claim_one(leases)
    await files.put(job, claim.fence, success().images)
    clock.advance(LEASE_S + 1)
    await make_sweeper(redis, clock).sweep()
    clock.advance(100)
    assert await files.sweep() == 0  # the job lives: another worker may be putting its own
    assert len(kept.names) == 1
    again = await claim_one(leases)
    assert await leases.finish(again, Failed("x", "y"))
    clock.advance(200)
    assert await files.sweep() == 1
    assert kept.names == []
    assert await looked_after(redis) == []


async def test_a_job_in_parts_keeps_the_files_of_its_best_pictures_only(
    redis: Redis, clock: Clock, kept: Kept
) -> None:
    """Each part has put its own best ones, and one of a worker that died is drawn again."""
    queue = make_queue(redis, clock, store=kept.store)
    sharing = [worker(redis, clock, kept, f"w{number}") for number in range(3)]
    job = await put(queue, num_candidates=12, n=3)
    claims = [await claim_one(leases, 4) for leases in sharing]
    files = ResultFiles(redis, kept.store, clock)
    await files.put(job, claims[0].fence, drawn(claims[0]).images)
    clock.advance(LEASE_S - 1)
    await sharing[1].renew(claims[1:], {})
    clock.advance(2)
    await make_sweeper(redis, clock).sweep()
    claims[0] = await claim_one(sharing[0], 4)
    fences = {number: claim.fence for claim in claims for number in claim.candidates}
    for leases, claim in zip(sharing, claims, strict=True):
        assert await leases.finish(claim, drawn(claim))
    assert await files.sweep() == 0
    best = [image.candidate for image in (await queue.get(job.id)).images]
    stored = [f"{job.id}/{fences[c]}/{c}{end}.png" for c in best for end in ("", "_1")]
    assert kept.names == sorted(stored)
    assert [await queue.image(job.id, rank) for rank in range(3)] == [b"%d" % c for c in best]


@pytest.mark.parametrize("results", KINDS[1:], indirect=True)
async def test_results_go_when_their_time_to_live_is_over(
    redis: Redis, results: ResultsSettings
) -> None:
    store = open_store(results)
    assert store is not None
    queue = make_queue(redis, store=store)
    leases, files = make_leases(redis, store=store), ResultFiles(redis, store)
    job = await put(queue)
    assert await leases.finish(await claim_one(leases), success())
    path = f"{job.id}/1/0.png"
    assert await store.get(path) == b"png0"
    await _all_due(redis)
    assert await files.sweep() == 0
    await redis.pexpire(Key.IMAGES.of(job.id), 0)
    with pytest.raises(ImageNotFound):
        await queue.image(job.id, 0)
    await _all_due(redis)
    assert await files.sweep() == 1
    assert await store.get(path) is None
    assert await looked_after(redis) == []
    assert await files.sweep() == 0


async def test_a_reader_with_another_store_says_so_in_the_log(
    redis: Redis, clock: Clock, kept: Kept, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leases = worker(redis, clock, kept)
    job = await put(make_queue(redis, clock))
    assert await leases.finish(await claim_one(leases), success())
    queue = make_queue(redis, clock, store=Kept(tmp_path / "other").store)
    with pytest.raises(ImageNotFound):
        await queue.image(job.id, 0)
    assert "MINDALLE_RESULTS__URL" in caplog.text


async def _all_due(redis: Redis) -> None:
    """As if the time of every look had come."""
    for job in await looked_after(redis):
        await redis.zadd(Key.FILES.of(), {job: 0})


@pytest.mark.parametrize("results", ["s3"], indirect=True)
async def test_the_processes_sweep_by_themselves(
    api: LiveApi, redis: Redis, results: ResultsSettings, s3_server: S3Server
) -> None:
    store = open_store(results)
    assert store is not None
    leases = make_leases(redis, store=store)
    job = await put(make_queue(redis))
    assert await leases.finish(await claim_one(leases), success())
    prefix = results.place.prefix
    assert s3_server.names(prefix) == [f"{job.id}/1/0.png"]
    await redis.pexpire(Key.IMAGES.of(job.id), 0)
    await _all_due(redis)
    async with asyncio.timeout(20):
        while s3_server.names(prefix):
            await asyncio.sleep(0.05)


async def test_a_sweep_is_bounded_and_many_do_not_meet(
    redis: Redis, clock: Clock, kept: Kept
) -> None:
    files = ResultFiles(redis, kept.store, clock)
    for number in range(130):
        await redis.zadd(Key.FILES.of(), {f"job_{number}": clock.now_ms})
    assert [await files.sweep() for _ in range(3)] == [100, 30, 0]


async def test_a_store_that_is_away_keeps_what_is_to_be_removed(
    redis: Redis, clock: Clock, relay: Relay
) -> None:
    store = open_store(s3_settings(relay.url, timeout_s=2))
    assert store is not None
    files = ResultFiles(redis, store, clock)
    job = replace((await put(make_queue(redis, clock))), id="job_1")
    await files.put(job, 1, success().images)
    clock.advance(1000)
    relay.refusals = 1000
    with pytest.raises(ResultsUnavailable):
        await files.sweep()
    relay.refusals = 0
    assert await files.sweep() == 0  # not again at once
    clock.advance(200)
    assert await files.sweep() == 1
    assert await store.get("job_1/1/0.png") is None


async def test_without_redis_nothing_is_put(kept: Kept) -> None:
    """Nobody would ever look for it."""
    nobody = Redis.from_url(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(QueueUnavailable):
        await make_leases(nobody, store=kept.store).finish(make_run().claim, success())
    assert kept.names == []
    await nobody.aclose()


async def test_a_store_that_this_process_does_not_know_is_no_missing_image(
    redis: Redis, clock: Clock, kept: Kept
) -> None:
    leases = worker(redis, clock, kept)
    job = await put(make_queue(redis, clock))
    assert await leases.finish(await claim_one(leases), success())
    with pytest.raises(ResultsUnavailable):
        await make_queue(redis, clock).image(job.id, 0)


async def test_what_redis_keeps_already_stays_readable_with_a_store(
    redis: Redis, clock: Clock, kept: Kept
) -> None:
    queue, leases = make_queue(redis, clock, store=kept.store), make_leases(redis, clock)
    job = await put(queue)
    assert await leases.finish(await claim_one(leases), success())
    assert await queue.image(job.id, 0) == b"png0"
    assert await queue.addresses(await queue.get(job.id)) == []
