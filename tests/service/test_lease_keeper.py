from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.stopping import stop
from service.jobs import Failed, Phase
from service.worker.run import TakenOut
from tests.conftest import Clock
from tests.service.live_worker import until
from tests.service.makers import (
    LEASE_S,
    claim_one,
    make_leases,
    make_queue,
    make_sweeper,
    progress_told,
    put,
    success,
)
from tests.service.stations import Stations


@pytest.mark.parametrize(
    ("phase", "moves", "is_kept"),
    [
        ("waiting", (1, 0), True),
        ("drawing", (1, 0), True),
        ("drawing", (0, 1), False),
        ("pixels", (0, 1), True),
        ("encoding", (1, 0), False),
    ],
)
async def test_a_lease_lasts_by_the_progress_of_the_station_that_has_the_run(
    redis: Redis, clock: Clock, phase: Phase, moves: tuple[int, int], is_kept: bool
) -> None:
    stations = Stations(redis, clock)
    await put(make_queue(redis, clock))
    (await stations.claim()).enter(phase)
    stations.moves = (0, 0)
    await stations.keeper.renew()
    clock.advance(LEASE_S - 1)
    stations.moves = moves
    await stations.keeper.renew()
    clock.advance(LEASE_S - 1)
    await make_sweeper(redis, clock).sweep()
    again = await make_leases(redis, clock, "w2").claim(free_rows=8, num_running=0)
    assert len(again.claims) == (0 if is_kept else 1)


async def test_what_only_waits_for_redis_keeps_its_lease(redis: Redis, clock: Clock) -> None:
    stations = Stations(redis, clock)
    await put(make_queue(redis, clock))
    run = await stations.claim()
    await stations.keeper.renew()
    run.close(success())
    assert run.phase == "commit"
    for _ in range(3):
        clock.advance(LEASE_S - 1)
        await stations.keeper.renew()
    await make_sweeper(redis, clock).sweep()
    assert await stations.leases.finish(run.claim, success())


async def test_a_lost_run_is_gone_and_let_go(redis: Redis, clock: Clock) -> None:
    stations = Stations(redis, clock)
    await put(make_queue(redis, clock))
    run = await stations.claim()
    clock.advance(LEASE_S + 1)
    await make_sweeper(redis, clock).sweep()
    await stations.keeper.renew()
    assert run.end == TakenOut("lost")
    assert not run.is_leased
    assert len(stations.leased) == 0
    assert stations.metric("mindalle_worker_leases_lost_total") == 1


async def test_a_cancelled_run_is_gone_and_no_lost_claim(redis: Redis) -> None:
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue)
    run = await stations.claim()
    watching = asyncio.create_task(stations.keeper.watch_cancellations())
    while not (await redis.pubsub_numsub(Key.CONTROL.value))[0][1]:
        await asyncio.sleep(0.01)
    await queue.cancel(job.id)
    await until(lambda: run.is_gone)
    await stations.keeper.renew()
    await stop(watching)
    assert run.end == TakenOut("cancelled")
    assert not run.is_leased
    assert stations.metric("mindalle_worker_leases_lost_total") == 0


@pytest.mark.parametrize("is_swept", [True, False])
async def test_a_late_run_is_let_go_and_counted_by_the_sweep_alone(
    redis: Redis, clock: Clock, *, is_swept: bool
) -> None:
    stations, sweeper = Stations(redis, clock), make_sweeper(redis, clock)
    await put(make_queue(redis, clock), deadline_s=2.0)
    run = await stations.claim()
    clock.advance(3)
    swept = await sweeper.sweep() if is_swept else None
    await stations.keeper.renew()
    assert run.end == TakenOut("expired")
    assert not run.is_leased
    assert (swept or await sweeper.sweep()).expired == 1
    assert stations.metric("mindalle_jobs_total", outcome="expired") == 0
    assert stations.metric("mindalle_worker_leases_lost_total") == 0


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_what_ends_a_job_in_parts_ends_its_other_runs(
    redis: Redis, *, is_cancelled: bool
) -> None:
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue, num_candidates=12)
    run = await stations.claim(8)
    if is_cancelled:
        await queue.cancel(job.id)
    else:
        other = await claim_one(make_leases(redis, worker_id="w2"), 4)
        await make_leases(redis).finish(other, Failed("invalid_value", "no"))
    await stations.keeper.renew()
    assert run.end == TakenOut("cancelled")
    assert not run.is_leased
    assert stations.metric("mindalle_worker_leases_lost_total") == 0


@pytest.mark.parametrize(
    ("phase", "stage"),
    [
        ("waiting", "prefill"),
        ("prefill", "prefill"),
        ("drawing", "decode"),
        ("pixels", "pixels"),
        ("ranking", "pixels"),
        ("encoding", "pixels"),
    ],
)
async def test_callers_see_the_phases_by_their_old_names(
    redis: Redis, phase: Phase, stage: str
) -> None:
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue, num_candidates=2)
    run = await stations.claim(2)
    run.enter(phase)
    run.codes_done = 8
    await stations.keeper.renew()
    progress = (await queue.get(job.id)).progress
    assert (progress.codes_done, progress.codes_total, progress.stage) == (8, 32, stage)


async def test_progress_is_published_once_for_each_part_of_it(redis: Redis) -> None:
    stations = Stations(redis)
    job = await put(make_queue(redis), num_candidates=2)
    run = await stations.claim(2)
    run.enter("drawing")
    for codes_done in (0, 8, 8, 9, 32):
        run.codes_done = codes_done
        stations.moves = (stations.moves[0] + 1, 0)
        await stations.keeper.renew()
    assert await progress_told(redis, job.id) == [8, 32]
