from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from tests.conftest import Clock
from tests.service.live_worker import until
from tests.service.makers import make_queue, put
from tests.service.stations import Stations


async def test_jobs_that_are_late_at_the_claim_are_counted(redis: Redis, clock: Clock) -> None:
    queue, stations = make_queue(redis, clock), Stations(redis, clock)
    for deadline_s in (1.0, 1.0, 60.0):
        await put(queue, deadline_s=deadline_s)
    clock.advance(2)
    claiming = asyncio.create_task(stations.claimer.run())
    await until(lambda: bool(stations.drawing))
    stations.claimer.is_draining = True
    await claiming
    assert stations.metric("mindalle_jobs_swept_expired_total") == 2


async def test_what_is_claimed_goes_on_as_a_run_of_all_candidates(
    redis: Redis, clock: Clock
) -> None:
    stations = Stations(redis, clock)
    job = await put(make_queue(redis, clock), num_candidates=3)
    clock.advance(2)
    claiming = asyncio.create_task(stations.claimer.run())
    await until(lambda: bool(stations.drawing))
    stations.claimer.is_draining = True
    await claiming
    (run,) = stations.drawing
    assert list(stations.leased) == [run]
    assert (run.job, run.candidates, run.phase) == (job, range(3), "waiting")
    assert run.codes_total == 3 * 16
    assert run.is_leased
    assert run.deadline - run.claimed_at == pytest.approx(298)


async def test_of_a_job_that_is_too_large_each_claim_is_a_run(redis: Redis) -> None:
    stations = Stations(redis)  # of eight rows
    await put(make_queue(redis), num_candidates=12)
    claiming = asyncio.create_task(stations.claimer.run())
    await until(lambda: bool(stations.drawing))
    (first,) = stations.drawing
    assert (first.candidates, first.codes_total) == (range(8), 8 * 16)
    first.num_drawn = 8
    stations.leased.ring()  # as drawing does: its rows are free
    await until(lambda: len(stations.drawing) == 2)
    stations.claimer.is_draining = True
    await claiming
    assert stations.drawing[1].candidates == range(8, 12)
    assert len({run.id for run in stations.leased}) == 2
