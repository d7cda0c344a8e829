from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.stopping import stop
from service.broker.workers import ModelCard, Workers
from service.metrics import WorkerMetrics
from service.worker.signs.heartbeat import Heartbeat
from tests.servers import RedisServer


async def test_a_worker_process_is_believed_for_as_long_as_its_heartbeat_needs(
    redis: Redis, valkey_server: RedisServer
) -> None:
    environment = os.environ | {
        "MINDALLE_MODEL": "tiny",
        "MINDALLE_REDIS__URL": valkey_server.url,
        "MINDALLE_WORKER__ID": "slow",
        "MINDALLE_WORKER__METRICS_PORT": "0",
        "MINDALLE_WORKER__HEARTBEAT_S": "20",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "worker", env=environment
    )
    try:
        async with asyncio.timeout(50):
            while not await redis.exists(Key.WORKER.of("slow")):
                await asyncio.sleep(0.05)
        assert await redis.pttl(Key.WORKER.of("slow")) > 40_000
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(("interval_s", "is_live"), [(0.5, False), (60, True)])
async def test_a_probe_is_as_patient_as_the_heartbeat_is_slow(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, interval_s: float, is_live: bool
) -> None:
    heartbeat = Heartbeat(Workers(redis), "w1", WorkerMetrics(CollectorRegistry()), None)
    beating = asyncio.create_task(heartbeat.run(interval_s))
    await asyncio.sleep(0.05)
    await stop(beating)
    assert heartbeat.is_live()
    later = time.monotonic() + 100
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: later)
        assert heartbeat.is_live() == is_live


async def test_a_heartbeat_that_nobody_foresaw_could_fail_is_told_and_goes_on(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.set(Key.WORKERS.of(), "not what we write there")
    metrics = WorkerMetrics(CollectorRegistry())
    heartbeat = Heartbeat(Workers(redis), "w1", metrics, ModelCard("tiny"))
    beating = asyncio.create_task(heartbeat.run(0.05))
    async with asyncio.timeout(30):
        while "a sign of life could not be given" not in caplog.text:
            await asyncio.sleep(0.01)
        await redis.delete(Key.WORKERS.of())
        await heartbeat.named()
    await stop(beating)
    assert [worker.id for worker in await Workers(redis).list()] == ["w1"]
