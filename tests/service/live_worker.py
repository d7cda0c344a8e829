"""A real worker with `tiny` inside the test's process, on a real queue."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from service.broker.stopping import end_signals, stop
from service.metrics import WorkerMetrics
from service.settings import Settings
from service.tracing import tracing
from service.worker.cpu_share import Cores
from service.worker.guests import find_guests, make_heartbeats
from service.worker.signs.heartbeat import Heartbeat
from service.worker.worker import Worker
from tests.servers import RedisServer

WAIT_S = 30.0


def worker_settings(server: RedisServer, **changes: object) -> Settings:
    """Eight rows, sweeps often, no metrics port."""
    values: dict[str, object] = {
        "model": "tiny",
        "redis": {"url": SecretStr(server.url)},
        "queue": {"sweep_interval_s": 0.1},
        "worker": {"rows": 8, "id": "w1", "metrics_port": 0, "drain_grace_s": 5},
    }
    return Settings.model_validate(values | changes)


class LiveWorker:
    """The worker and what can be seen of it."""

    def __init__(self, worker: Worker, registry: CollectorRegistry, heartbeat: Heartbeat) -> None:
        self.worker = worker
        self.heartbeat = heartbeat
        self._registry = registry

    def metric(self, name: str, **labels: str) -> float:
        """One sample, of the model or of all; 0 when there is none."""
        of_model = self._registry.get_sample_value(name, {"model": "tiny", **labels})
        return of_model or self._registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def working(
    settings: Settings, redis: Redis, *, status: int = 0
) -> AsyncIterator[LiveWorker]:
    """A worker until the block ends; it must then drain, or have ended, with this status."""
    registry, cores = CollectorRegistry(), Cores()
    heartbeats = make_heartbeats(settings, redis, WorkerMetrics(registry))
    guests = await find_guests(settings, heartbeats, cores)
    worker = Worker(settings, redis, guests, tracing.start("worker", "0"), cores)
    running = asyncio.create_task(worker.run())
    beating = [asyncio.create_task(each.run(0.05)) for each in heartbeats.values()]
    heartbeat = heartbeats[settings.first_hosted]
    await until(heartbeat.is_ready)
    try:
        yield LiveWorker(worker, registry, heartbeat)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        ended_with = await running
        await stop(*beating)
        loop = asyncio.get_running_loop()
        for number in end_signals():
            loop.remove_signal_handler(number)
    assert ended_with == status


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    give_up = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < give_up, "it does not come true"
        await asyncio.sleep(0.01)
