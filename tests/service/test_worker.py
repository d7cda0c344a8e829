from __future__ import annotations

import asyncio
import io
import math
import os
import signal
from pathlib import Path

import pytest
from PIL import Image as Pillow
from redis.asyncio import Redis

from models.pipeline import Pipeline
from service.broker.keys import Key
from service.broker.queue import Queue
from service.broker.workers import Workers
from service.config.results import ResultsSettings
from service.jobs import JobStatus, JobView
from service.worker.pictures import png
from service.worker.pictures.picture_makers import PictureMakers
from tests.servers import RedisServer
from tests.service.live_worker import WAIT_S, until, worker_settings, working
from tests.service.makers import make_leases, put
from tests.stores import KINDS


async def ended(queue: Queue, job_id: str) -> JobView:
    return await queue.wait(job_id, WAIT_S)


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_a_job_becomes_ranked_files_that_say_how_they_were_made(
    valkey_server: RedisServer,
    redis: Redis,
    queue: Queue,
    tmp_path: Path,
    results: ResultsSettings,
) -> None:
    async with working(worker_settings(valkey_server, results=results), redis) as live:
        job = await put(queue, num_candidates=3, n=2, partial_images=2, output_format="webp")
        view = await ended(queue, job.id)
        assert view.status == JobStatus.SUCCEEDED
        assert set(view.timings_s) == {
            "queue_wait", "prefill", "decode", "pixels", "rerank", "encode",
        }  # fmt: skip
        assert view.size == "32x32"
        first = await redis.hget(Key.IMAGES.of(job.id), "0")
        assert (len(first or b"") < 20) == (results.url != "redis:")  # then it says where it is
        for meta in view.images:
            path = tmp_path / f"{meta.rank}.webp"
            path.write_bytes(await queue.image(job.id, meta.rank))
            record = png.read(path)
            assert record.recipe == job.recipe
            assert record.candidate == meta.candidate
        events = [event async for event in queue.events(job.id)]
        partial = [event for event in events if event.name == "partial_image"]
        assert [event.data["index"] for event in partial] == [0, 1]
        for event in partial:
            with Pillow.open(io.BytesIO(event.image or b"")) as image:
                assert image.size == (32, 32)
        await until(lambda: live.metric("mindalle_jobs_total", outcome="succeeded") == 1)
        assert live.metric("mindalle_codes_total") == 3 * 16
        assert live.metric("mindalle_rows_busy") == 0
        assert live.metric("mindalle_finishing_candidates") == 0


async def test_what_the_model_can_not_draw_fails_with_its_reason(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    async with working(worker_settings(valkey_server), redis):
        job = await put(queue, temperature=math.nan)
        good = await put(queue, prompt="")  # legal: no text at all
        view = await ended(queue, job.id)
        assert view.status == JobStatus.FAILED
        assert view.error is not None
        assert view.error.code == "invalid_value"
        assert view.error.message.startswith("temperature")
        assert (await ended(queue, good.id)).status == JobStatus.SUCCEEDED


async def test_a_deadline_in_the_middle_frees_the_rows(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = worker_settings(valkey_server, testing={"step_delay_s": 0.3})
    async with working(settings, redis) as live:
        job = await put(queue, num_candidates=4, deadline_s=1.5)
        assert (await ended(queue, job.id)).status == JobStatus.EXPIRED
        await until(lambda: live.metric("mindalle_rows_busy") == 0)
        # Told when the step has ended in which they left.
        await until(lambda: live.metric("mindalle_rows_left_early_total", reason="expired") == 4)


async def test_a_cancelled_job_leaves_within_a_few_steps(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = worker_settings(valkey_server, testing={"step_delay_s": 0.3})
    async with working(settings, redis) as live:
        job = await put(queue, num_candidates=4)
        await until(lambda: live.metric("mindalle_rows_busy") == 4)
        steps = live.metric("mindalle_step_seconds_count")
        await queue.cancel(job.id)
        await until(lambda: live.metric("mindalle_rows_busy") == 0)
        assert live.metric("mindalle_step_seconds_count") - steps <= 8
        # Told when the step has ended in which they left.
        await until(lambda: live.metric("mindalle_rows_left_early_total", reason="cancelled") == 4)


async def test_out_of_memory_shrinks_the_batch_and_ends_readiness_if_it_repeats(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = worker_settings(valkey_server, testing={"oom_above_rows": 1})
    async with working(settings, redis) as live:
        job = await put(queue, num_candidates=8)
        view = await ended(queue, job.id)
        assert (view.status, view.attempts) == (JobStatus.SUCCEEDED, 1)
        assert live.metric("mindalle_out_of_memory_total") == 3  # 8 → 4 → 2 → 1
        assert live.metric("mindalle_rows") == 1
        await until(lambda: not live.heartbeat.is_ready())
        await live.heartbeat.beat()
        (info,) = await Workers(redis).list()
        assert (info.state, info.rows_total) == ("failing", 1)
        waiting = await put(queue)
        await asyncio.sleep(1)
        assert (await queue.get(waiting.id)).status is JobStatus.QUEUED  # for a worker that is fit


async def test_a_step_that_hangs_loses_its_lease_to_another(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    """The event loop lives on: only the missing steps tell."""
    settings = worker_settings(
        valkey_server,
        testing={"step_delay_s": 3.0},
        queue={"lease_s": 0.5, "sweep_interval_s": 0.1},
    )
    hung: list[bool] = []
    async with working(settings, redis) as live:
        live.worker.on_hang = lambda: hung.append(True)
        job = await put(queue, num_candidates=2)
        await until(lambda: live.metric("mindalle_queue_wait_seconds_count") == 1)
        async with asyncio.timeout(WAIT_S):
            while (await queue.get(job.id)).status is not JobStatus.QUEUED:
                await asyncio.sleep(0.02)
        (claim,) = (
            await make_leases(redis, worker_id="w2").claim(free_rows=8, num_running=0)
        ).claims
        assert (claim.job.id, claim.attempt) == (job.id, 2)
        await until(lambda: not live.heartbeat.is_live())
        await until(lambda: bool(hung))
        await until(lambda: live.metric("mindalle_worker_leases_lost_total") >= 1)
        await until(lambda: live.metric("mindalle_rows_busy") == 0)


async def test_a_crashed_batch_is_tried_one_by_one(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = worker_settings(valkey_server, testing={"poison_prompt": "poison"})
    poison = await put(queue, prompt="poison")
    good = [await put(queue, seed=seed, num_candidates=2) for seed in range(3)]
    async with working(settings, redis) as live:
        for job in good:
            assert (await ended(queue, job.id)).status == JobStatus.SUCCEEDED
        view = await ended(queue, poison.id)
        assert (view.status, view.attempts) == (JobStatus.FAILED, 3)
        assert live.metric("mindalle_batch_crashes_total") == 3
        assert live.metric("mindalle_jobs_dead_lettered_total") == 1
        # The first batch had those that had come by then, the poison's other two only its own.
        lost = live.metric("mindalle_rows_left_early_total", reason="crashed")
        assert lost in {1 + 2 + 2 * others for others in range(4)}
        assert live.metric("mindalle_wasted_codes_total") == lost


async def test_a_picture_that_can_not_be_made_frees_the_rows(
    valkey_server: RedisServer, redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Pipeline, _codes: object, _counts: object) -> None:
        raise RuntimeError("no such kernel")

    settings = worker_settings(valkey_server, testing={"step_delay_s": 0.1})
    async with working(settings, redis) as live:
        monkeypatch.setattr(Pipeline, "preview", broken)
        job = await put(queue, num_candidates=4, partial_images=3)
        assert (await ended(queue, job.id)).status is JobStatus.FAILED
        await until(
            lambda: live.metric("mindalle_rows_left_early_total", reason="crashed") == 3 * 4
        )
        assert live.metric("mindalle_rows_busy") == 0
        assert live.metric("mindalle_wasted_codes_total") == live.metric("mindalle_codes_total")
        assert live.metric("mindalle_codes_total") < 3 * 4 * 16


async def test_jobs_claimed_are_no_more_than_the_rows_and_a_large_one_enters_in_parts(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = worker_settings(valkey_server, testing={"step_delay_s": 0.05})
    large = await put(queue, num_candidates=20, n=10)
    small = await put(queue, num_candidates=1)
    async with working(settings, redis) as live:
        await until(lambda: live.metric("mindalle_rows_busy") == 8)
        assert (await queue.get(small.id)).status is JobStatus.QUEUED
        view = await ended(queue, large.id)
        assert len(view.images) == 10
        assert (await ended(queue, small.id)).status == JobStatus.SUCCEEDED


async def test_a_second_signal_hands_back_at_once(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = worker_settings(valkey_server, testing={"step_delay_s": 0.2})
    async with working(settings, redis) as live:
        job = await put(queue, num_candidates=8)
        await until(lambda: live.metric("mindalle_rows_busy") == 8)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)  # the block's end sends the second one
        await until(lambda: not live.heartbeat.is_ready())
    view = await queue.get(job.id)
    assert (view.status, view.attempts) == (JobStatus.QUEUED, 0)


async def test_the_engines_end_is_the_workers_and_what_it_drew_is_suspect(
    valkey_server: RedisServer, redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_self: Pipeline, _num_rows: int) -> None:
        raise MemoryError("no memory for one row")

    settings = worker_settings(valkey_server, testing={"poison_prompt": "poison"})
    async with working(settings, redis, status=1) as live:
        monkeypatch.setattr(Pipeline, "batch", none_left)
        poison = await put(queue, prompt="poison")
        async with asyncio.timeout(WAIT_S):
            while (await queue.get(poison.id)).attempts != 1 or live.heartbeat.is_ready():
                await asyncio.sleep(0.02)
    view = await queue.get(poison.id)
    assert (view.status, view.attempts) == (JobStatus.QUEUED, 1)


async def test_the_picture_threads_end_is_the_workers_and_its_jobs_are_handed_back(
    valkey_server: RedisServer, redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: PictureMakers) -> None:
        raise RuntimeError("no thread can be started")

    async with working(worker_settings(valkey_server), redis, status=1) as live:
        monkeypatch.setattr(PictureMakers, "at_work", broken)
        job = await put(queue)
        await until(lambda: not live.heartbeat.is_ready())
    view = await queue.get(job.id)
    assert (view.status, view.attempts) == (JobStatus.QUEUED, 0)


async def test_seconds_of_drawing_are_the_steps_seconds(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    """However busy the picture thread is with another job's pictures."""
    settings = worker_settings(valkey_server, testing={"step_delay_s": 0.02})
    async with working(settings, redis):
        jobs = [await put(queue, num_candidates=4, n=4, seed=seed) for seed in range(2)]
        views = [await ended(queue, job.id) for job in jobs]
    for view in views:
        assert view.timings_s["decode"] > 15 * 0.02
