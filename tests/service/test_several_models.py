"""A worker of several models: which of them it holds, and how they get on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from models.files.convert import convert
from service.broker.queue import Queue
from service.broker.workers import Workers
from service.jobs import JobStatus, JobView
from service.settings import Settings
from service.worker import residence
from tests.models.random_checkpoint import tiny_with_words, write_random_checkpoint
from tests.servers import RedisServer
from tests.service.live_worker import WAIT_S, LiveWorker, until, worker_settings, working
from tests.service.makers import put

MODELS = ("tiny", "tiny-rq", "tiny-hq")  # of about 4 MB each
_WORKER = {"rows": 8, "id": "w1", "metrics_port": 0, "drain_grace_s": 5}


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stays for longer than he is needed."""
    for name in ("_SHORTEST_STAY_S", "_LOADS_PER_STAY", "_REST_S"):
        monkeypatch.setattr(residence, name, 0.0)


def several(server: RedisServer, **changes: object) -> Settings:
    own = {"models": ",".join(MODELS), **_WORKER, **changes}
    return worker_settings(server, worker=own)


async def drawn(queue: Queue, **recipe: object) -> list[bytes]:
    """The pictures of a job, which must succeed."""
    job = await put(queue, **recipe)
    view: JobView = await queue.wait(job.id, WAIT_S)
    assert view.status is JobStatus.SUCCEEDED
    return [await queue.image(job.id, meta.rank) for meta in view.images]


def held(live: LiveWorker) -> float:
    return sum(live.metric("mindalle_model_bytes", model=name) for name in MODELS)


async def most_held(live: LiveWorker, highest: list[float]) -> None:
    while True:
        highest.append(held(live))
        await asyncio.sleep(0.005)


@pytest.mark.usefixtures("_hasty")
async def test_models_share_a_memory_that_does_not_hold_them_all(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    highest: list[float] = []
    async with working(several(valkey_server, models_memory_mb=9), redis) as live:
        watching = asyncio.create_task(most_held(live, highest))
        first = {name: await drawn(queue, model=name, seed=3) for name in MODELS}
        again = {name: await drawn(queue, model=name, seed=3) for name in MODELS}
        watching.cancel()
        assert again == first
        unloads = [
            live.metric("mindalle_model_unloads_total", model=name, reason="memory")
            for name in MODELS
        ]
        assert sum(unloads) >= 3
        states = {info.card.model: info for info in await Workers(redis).list()}
        assert states.keys() == set(MODELS)
        assert all(info.is_serving for info in states.values())
        assert any(not info.is_loaded for info in states.values())
    assert 7e6 < max(highest) <= 9e6
    assert {info.id for info in states.values()} == {"w1", "w1.tiny-rq", "w1.tiny-hq"}


@pytest.mark.usefixtures("_hasty")
async def test_one_that_is_busy_all_the_time_makes_room_for_another(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = several(valkey_server, models="tiny,tiny-rq", models_memory_mb=5)
    async with working(settings, redis):
        jobs = [await put(queue, num_candidates=8, seed=seed) for seed in range(24)]
        await drawn(queue, model="tiny-rq")
        left = [(await queue.get(job.id)).status for job in jobs].count(JobStatus.QUEUED)
        assert left > 0
        for job in jobs:
            assert (await queue.wait(job.id, WAIT_S)).status is JobStatus.SUCCEEDED


async def test_what_nobody_uses_goes_and_comes_back(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = several(valkey_server, models="tiny", unload_idle_s=0.8, preload="none")
    async with working(settings, redis) as live:
        assert live.metric("mindalle_model_state", state="cold") == 1
        for num_times in (1, 2):
            await drawn(queue)
            await until(
                lambda n=num_times: live.metric("mindalle_model_unloads_total", reason="idle") == n  # type: ignore[misc]  # bound now
            )
        assert live.metric("mindalle_rows") == 0
        assert live.metric("mindalle_model_loads_total", outcome="loaded") == 2


async def test_all_may_be_loaded_at_the_start(valkey_server: RedisServer, redis: Redis) -> None:
    settings = several(valkey_server, models="tiny,tiny-class", preload="all")
    async with working(settings, redis) as live:
        await until(lambda: live.metric("mindalle_rows", model="tiny-class") == 8)


async def test_jobs_for_one_that_can_not_be_loaded_end_and_the_others_go_on(
    valkey_server: RedisServer, redis: Redis, queue: Queue, tmp_path: Path
) -> None:
    write_random_checkpoint(tmp_path / "official", tiny_with_words())
    convert(tmp_path / "official", tmp_path / "broken")
    settings = several(valkey_server, models=f"tiny,tiny-enhance={tmp_path}/broken")
    async with working(settings, redis) as live:
        for weights in (tmp_path / "broken").glob("*.safetensors"):
            weights.write_bytes(weights.read_bytes()[:1000])
        job = await put(queue, model="tiny-enhance")
        view = await queue.wait(job.id, WAIT_S)
        assert view.status is JobStatus.FAILED
        assert view.error is not None
        assert view.error.code == "model_unavailable"
        assert (
            live.metric("mindalle_model_loads_total", model="tiny-enhance", outcome="failed") == 1
        )
        await drawn(queue)
