"""The worker as a process: signs of life from the first moment, then load, warm up and work.

`worker` holds what it does while it works. Each of its models gives signs of its own, so that to
others it looks like as many workers. Knows no jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

import service
from service.broker.fault_log import FaultLog
from service.broker.redis_connection import backoff_s, check_server, connect, disconnect
from service.broker.stopping import stop
from service.errors import QueueUnavailable
from service.metrics import WorkerMetrics, new_registry
from service.settings import Settings
from service.tracing import tracing
from service.worker.cpu_share import Cores
from service.worker.guests import find_guests, make_heartbeats
from service.worker.signs.heartbeat import Heartbeat
from service.worker.signs.metrics_server import MetricsServer
from service.worker.worker import Worker


def run(settings: Settings) -> int:
    """Work until a signal; 0 after a clean end, 1 when the engine died.

    Raises:
        StartRefused, UnknownPresetError, CheckpointError: it can't start like this.
    """
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    metrics = WorkerMetrics(new_registry())
    metrics.build.info({"version": service.__version__})
    redis = connect(settings.redis)
    heartbeats = make_heartbeats(settings, redis, metrics)
    server = _metrics_server(settings, metrics.registry, heartbeats)
    traces = tracing.start("worker", service.__version__)
    beating = [
        asyncio.create_task(heartbeat.run(settings.worker.heartbeat_s))
        for heartbeat in heartbeats.values()
    ]
    try:
        await _fit_server(redis, heartbeats[settings.first_hosted].faults)
        cores = Cores()
        guests = await find_guests(settings, heartbeats, cores)
        for heartbeat in heartbeats.values():
            await heartbeat.named()
        return await Worker(settings, redis, guests, traces, cores).run()
    finally:
        await stop(*beating)
        if server is not None:
            server.shutdown()
            server.server_close()
        with suppress(QueueUnavailable):
            for name, heartbeat in heartbeats.items():
                await heartbeat.leave(name)
        await disconnect(redis)
        traces.close()


def _metrics_server(
    settings: Settings, registry: CollectorRegistry, heartbeats: Mapping[str, Heartbeat]
) -> MetricsServer | None:
    """Live while all of its models' heartbeats are, ready as long as one of them takes jobs."""
    worker = settings.worker
    if worker.metrics_port == 0:
        return None
    server = MetricsServer(
        worker.metrics_host,
        worker.metrics_port,
        registry,
        is_live=lambda: all(heartbeat.is_live() for heartbeat in heartbeats.values()),
        is_ready=lambda: any(heartbeat.is_ready() for heartbeat in heartbeats.values()),
    )
    server.start()
    return server


async def _fit_server(redis: Redis, faults: FaultLog) -> None:
    """Wait for Redis. StartRefused when it is unfit."""
    failures = 0
    while True:
        try:
            await check_server(redis)
            return
        except QueueUnavailable as error:
            faults.note(error)
            failures += 1
            await asyncio.sleep(backoff_s(failures))
