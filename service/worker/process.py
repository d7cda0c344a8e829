"""The worker as a process: signs of life from the first moment, then load, warm up and work.

`worker` holds what it does while it works. Knows no jobs.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from redis.asyncio import Redis

import service
from service.broker.fault_log import FaultLog
from service.broker.redis_connection import backoff_s, check_server, connect, disconnect
from service.broker.stopping import stop
from service.broker.workers import Workers
from service.errors import QueueUnavailable
from service.metrics import DroppedLines, WorkerMetrics
from service.settings import Settings
from service.tracing import tracing
from service.worker.model_host import Machinery, loading_card
from service.worker.signs.heartbeat import Heartbeat
from service.worker.signs.metrics_server import MetricsServer
from service.worker.signs.worker_name import Owner
from service.worker.threads import on_own_thread
from service.worker.worker import Worker, worker_id

_log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Work until a signal; 0 after a clean end, 1 when the engine died.

    Raises:
        StartRefused, UnknownPresetError, CheckpointError: it can't start like this.
    """
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector, DroppedLines):
        collector(registry=registry)
    redis = connect(settings.redis)
    owner = Owner.of_this_process()
    workers = Workers(redis, heartbeat_s=settings.worker.heartbeat_s, owner=str(owner))
    heartbeat = Heartbeat(
        workers, worker_id(settings), WorkerMetrics(registry), loading_card(settings.model)
    )
    server = _metrics_server(settings, registry, heartbeat)
    traces = tracing.start("worker", service.__version__)
    beating = asyncio.create_task(heartbeat.run(settings.worker.heartbeat_s))
    try:
        await _fit_server(redis, heartbeat.faults)
        machinery = await on_own_thread(lambda: Machinery.load(settings.model, settings.worker))
        await heartbeat.named()
        worker = Worker(settings, redis, machinery, heartbeat, traces)
        await on_own_thread(worker.warm_up)
        return await worker.run()
    finally:
        await stop(beating)
        if server is not None:
            server.shutdown()
            server.server_close()
        with suppress(QueueUnavailable):
            await heartbeat.leave(settings.model)
        await disconnect(redis)
        traces.close()


def _metrics_server(
    settings: Settings, registry: CollectorRegistry, heartbeat: Heartbeat
) -> MetricsServer | None:
    worker = settings.worker
    if worker.metrics_port == 0:
        return None
    server = MetricsServer(
        worker.metrics_host,
        worker.metrics_port,
        registry,
        is_live=heartbeat.is_live,
        is_ready=heartbeat.is_ready,
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
