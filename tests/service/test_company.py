from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from service.metrics import WorkerMetrics
from service.tracing import tracing
from service.worker.claims import company as companies
from service.worker.claims.company import Company
from service.worker.claims.leased import Leased
from service.worker.signs.journal import Journal
from service.worker.signs.meter import Meter
from tests.service.live_worker import until
from tests.service.makers import claim_one, make_queue, put
from tests.service.runs import make_run
from tests.service.stations import Stations


def member(company: Company, model: str) -> Leased:
    meter = Meter(WorkerMetrics(CollectorRegistry()), model)
    leased = Leased(Journal(meter, tracing.start("worker", "0")), codes_per_candidate=16)
    company.join(leased)
    return leased


async def test_an_isolated_job_of_one_model_runs_beside_nothing_of_another() -> None:
    company = Company()
    one, other = member(company, "one"), member(company, "other")
    plain = make_run().claim
    alone = replace(make_run().claim, is_isolated=True)
    assert not company.is_in_the_way(one, alone)
    running = other.add(plain)
    assert company.num_runs == 1
    assert company.is_in_the_way(one, alone)
    assert not company.is_in_the_way(one, plain)
    other.let_go(running, "succeeded")
    one.add(alone)
    assert company.is_closed_to(other)
    assert company.is_in_the_way(other, plain)
    assert not company.is_closed_to(one)


async def test_who_must_run_something_alone_gets_quiet_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    company = Company()
    one, other = member(company, "one"), member(company, "other")
    company.ask_for_quiet(one)
    assert company.is_closed_to(other)
    assert not company.is_closed_to(one)
    monkeypatch.setattr(companies, "_QUIET_S", 0.0)
    company.ask_for_quiet(one)
    assert not company.is_closed_to(other)


async def test_what_must_run_alone_waits_until_the_other_models_are_done(redis: Redis) -> None:
    queue, stations = make_queue(redis), Stations(redis)
    job = await put(queue)
    await stations.leases.crashed(await claim_one(stations.leases), "boom")
    other = member(stations.company, "other")
    running = other.add(make_run().claim)
    claiming = asyncio.create_task(stations.claimer.run())
    await until(lambda: stations.company.is_closed_to(other))
    assert not stations.drawing
    other.let_go(running, "succeeded")
    await until(lambda: bool(stations.drawing))
    stations.claimer.is_draining = True
    await claiming
    (run,) = stations.drawing
    assert (run.job.id, run.claim.is_isolated) == (job.id, True)
