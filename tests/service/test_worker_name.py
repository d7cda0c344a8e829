from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from service.broker.workers import Workers
from service.metrics import WorkerMetrics
from service.worker.signs.heartbeat import Heartbeat
from service.worker.signs.worker_name import Owner, name_of_its_own
from tests.servers import RedisServer
from tests.service.painter import TEXT_CARD


def _heartbeat(redis: Redis, owner: Owner) -> Heartbeat:
    workers = Workers(redis, owner=str(owner))
    return Heartbeat(workers, "w1", WorkerMetrics(CollectorRegistry()), TEXT_CARD)


async def _names(redis: Redis) -> list[str]:
    return [worker.id for worker in await Workers(redis).list()]


def test_an_owner_survives_its_way_through_redis() -> None:
    owner = Owner.of_this_process()
    assert Owner.parse(str(owner)) == owner
    assert Owner.parse(str(replace(owner, host="a b", pid_space=""))) is not None
    assert Owner.of_this_process() != owner
    for other in ("", "first", "12", "x y z h"):
        assert Owner.parse(other) is None


def test_only_a_process_of_this_machine_can_be_known_to_have_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = Owner.of_this_process()
    assert not here.has_ended()
    gone = replace(here, pid=ended.pid)
    assert gone.has_ended()
    assert not replace(gone, host="elsewhere").has_ended()
    assert not replace(gone, pid_space="pid:[1]").has_ended()  # as in another container
    assert not replace(gone, pid_space="").has_ended()


def test_own_names_are_told_apart() -> None:
    assert name_of_its_own("w1") != name_of_its_own("w1")
    assert name_of_its_own("w1").startswith("w1-")


async def test_the_second_of_a_name_says_so_and_takes_its_own(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (_heartbeat(redis, Owner.of_this_process()) for _ in range(2))
    await first.beat()
    await second.beat()
    assert await _names(redis) == ["w1"]  # it may be what a killed worker left
    assert caplog.records == []
    await asyncio.sleep(0.01)
    await first.beat()
    await second.beat()
    (_, own) = names = await _names(redis)
    assert names == ["w1", second.worker_id]
    assert own.startswith("w1-")
    (record,) = caplog.records
    assert "MINDALLE_WORKER__ID" in record.getMessage()
    assert own in record.getMessage()
    await second.leave(TEXT_CARD.model)
    assert await _names(redis) == ["w1"]


async def test_a_name_that_another_took_meanwhile_is_given_up(redis: Redis) -> None:
    first, second = (_heartbeat(redis, Owner.of_this_process()) for _ in range(2))
    await first.beat()
    await redis.flushall()  # as when Redis lost the first one's sign
    await second.beat()
    await first.beat()
    assert len(await _names(redis)) == 2
    await second.named()
    assert second.worker_id == "w1"


async def test_a_killed_workers_name_is_taken_over_at_once(redis: Redis) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = Owner.of_this_process()
    await _heartbeat(redis, replace(here, pid=ended.pid)).beat()
    follower = _heartbeat(redis, here)
    await follower.beat()
    await follower.named()
    assert follower.worker_id == "w1"


@asynccontextmanager
async def _worker(server: RedisServer, log: Path) -> AsyncIterator[Process]:
    environment = os.environ | {
        "MINDALLE_MODEL": "tiny",
        "MINDALLE_REDIS__URL": server.url,
        "MINDALLE_WORKER__ID": "same",
        "MINDALLE_WORKER__METRICS_PORT": "0",
        "MINDALLE_WORKER__HEARTBEAT_S": "0.2",
        "MINDALLE_LOG_FORMAT": "text",
    }
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service", "worker", env=environment, stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def _until_ready(redis: Redis, num_workers: int) -> list[str]:
    async with asyncio.timeout(50):
        while True:
            ready = [info.id for info in await Workers(redis).list() if info.state == "ready"]
            if len(ready) == num_workers:
                return ready
            await asyncio.sleep(0.05)


async def test_two_processes_of_one_name_are_counted_as_two(
    redis: Redis, valkey_server: RedisServer, tmp_path: Path
) -> None:
    log = tmp_path / "second.log"
    async with _worker(valkey_server, tmp_path / "first.log") as first:
        await _until_ready(redis, 1)
        async with _worker(valkey_server, log):
            ready = await _until_ready(redis, 2)
            assert ready[0] == "same"
            assert f"this one goes by {ready[1]}" in log.read_text()
        first.send_signal(signal.SIGKILL)
        await first.wait()
        async with _worker(valkey_server, tmp_path / "third.log"):  # in the killed one's place
            async with asyncio.timeout(50):
                while "ready" not in (tmp_path / "third.log").read_text():
                    await asyncio.sleep(0.05)
            assert "goes by" not in (tmp_path / "third.log").read_text()
            assert "same" in await _names(redis)
