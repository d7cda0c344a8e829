from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from service.metrics import WorkerMetrics
from service.worker.claims.claimer import Claimer
from service.worker.claims.holdings import Holdings
from service.worker.signs.meter import Meter
from tests.conftest import Clock
from tests.service.live_worker import until
from tests.service.makers import MODEL, make_leases, make_queue, put


async def test_jobs_that_are_late_at_the_claim_are_counted(redis: Redis, clock: Clock) -> None:
    queue, registry, holdings = make_queue(redis, clock), CollectorRegistry(), Holdings()
    started: list[str] = []
    claimer = Claimer(
        make_leases(redis, clock),
        holdings,
        Meter(WorkerMetrics(registry), MODEL),
        start=lambda run_id, _claim, _deadline: started.append(run_id),
        num_rows=lambda: 8,
        num_steps=16,
    )
    for deadline_s in (1.0, 1.0, 60.0):
        await put(queue, deadline_s=deadline_s)
    clock.advance(2)
    claiming = asyncio.create_task(claimer.run())
    await until(lambda: bool(started))
    claimer.is_draining = True
    await claiming
    assert registry.get_sample_value("mindalle_jobs_swept_expired_total") == 2
