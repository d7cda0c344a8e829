from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import torch
from redis.asyncio import Redis

from service.broker.claims import Claim
from service.broker.dead_letters import DeadLetters
from service.broker.leases import Leases
from service.broker.parts import Committed
from service.broker.stopping import stop
from service.errors import QueueUnavailable
from service.jobs import Expired, Failed, JobStatus, Outcome
from service.store.object_store import open_store
from service.worker.handover import Glimpse
from service.worker.run import End, Run, TakenOut
from tests.conftest import Clock
from tests.service.live_worker import until
from tests.service.makers import drawn, make_queue, make_sweeper, put, success
from tests.service.stations import Stations
from tests.stores import Relay, S3Server, s3_settings


@asynccontextmanager
async def delivering(stations: Stations) -> AsyncIterator[None]:
    working = asyncio.create_task(stations.delivery.run())
    yield
    await stop(working)


def ended(run: Run, end: End) -> Run:
    assert run.close(end)
    return run


@pytest.mark.parametrize(
    ("end", "status", "outcome"),
    [
        (success(), JobStatus.SUCCEEDED, "succeeded"),
        (Failed("invalid_value", "no"), JobStatus.FAILED, "failed"),
        (Expired(), JobStatus.EXPIRED, "expired"),
    ],
)
async def test_an_outcome_is_committed_once(
    redis: Redis, end: End, status: JobStatus, outcome: str
) -> None:
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue)
    run = await stations.claim()
    async with delivering(stations):
        stations.delivery.put(ended(run, end))
        stations.delivery.put(run)  # let go by then
        await until(lambda: not run.is_leased)
        stations.delivery.put(ended(await _another(stations, redis), success()))
        await until(lambda: len(stations.leased) == 0)
    assert (await queue.get(job.id)).status is status
    expected = 2 if outcome == "succeeded" else 1
    assert stations.metric("mindalle_jobs_total", outcome=outcome) == expected
    assert run.spans[-1].phase == "commit"


async def test_a_job_in_parts_is_counted_once(redis: Redis) -> None:
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue, num_candidates=12, n=2)
    runs = [await stations.claim(8) for _ in range(2)]
    async with delivering(stations):
        for run in runs:
            stations.delivery.put(ended(run, drawn(run.claim)))
        await until(lambda: len(stations.leased) == 0)
    assert (await queue.get(job.id)).status is JobStatus.SUCCEEDED
    assert stations.metric("mindalle_jobs_total", outcome="succeeded") == 1
    assert stations.metric("mindalle_images_total") == 2
    assert stations.metric("mindalle_queue_wait_seconds_count") == 1
    assert stations.metric("mindalle_worker_leases_lost_total") == 0


async def _another(stations: Stations, redis: Redis) -> Run:
    await put(make_queue(redis))
    return await stations.claim()


@pytest.mark.parametrize(("reason", "attempts"), [("drained", 0), ("crashed", 1)])
async def test_what_is_given_back_waits_again(redis: Redis, reason: str, attempts: int) -> None:
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue)
    end = TakenOut("drained") if reason == "drained" else TakenOut("crashed", "oh")
    async with delivering(stations):
        stations.delivery.put(ended(await stations.claim(), end))
        await until(lambda: len(stations.leased) == 0)
    view = await queue.get(job.id)
    assert (view.status, view.attempts) == (JobStatus.QUEUED, attempts)


async def test_a_run_that_was_let_go_is_dropped(redis: Redis) -> None:
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue)
    gone = ended(await stations.claim(), success())
    stations.leased.let_go(gone, "cancelled")
    async with delivering(stations):
        stations.delivery.put(Glimpse(gone, 0, 0, torch.zeros(1, 16, 1), 4, b"file"))
        stations.delivery.put(gone)
        stations.delivery.put(ended(await _another(stations, redis), success()))
        await until(lambda: len(stations.leased) == 0)
    assert (await queue.get(job.id)).status is JobStatus.RUNNING  # nothing was told of it


class _Away:
    """Instead of `Leases.finish`: Redis does not answer, again and again."""

    def __init__(self, leases: Leases, num_failures: int) -> None:
        self.num_failures, self.num_calls = num_failures, 0
        self.finish = leases.finish

    async def __call__(self, claim: Claim, outcome: Outcome) -> Committed:
        self.num_calls += 1
        if self.num_calls <= self.num_failures:
            raise QueueUnavailable
        return await self.finish(claim, outcome)


async def test_what_is_ready_waits_for_redis(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue)
    run = await stations.claim()
    monkeypatch.setattr(stations.leases, "finish", _Away(stations.leases, 2))
    async with delivering(stations):
        stations.delivery.put(ended(run, success()))
        await until(lambda: not run.is_leased)
    assert (await queue.get(job.id)).status is JobStatus.SUCCEEDED
    assert [span.phase for span in run.spans] == ["commit"]


async def test_a_run_that_is_let_go_while_redis_is_away_is_dropped(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stations = Stations(redis)
    await put(make_queue(redis))
    run = await stations.claim()
    away = _Away(stations.leases, 1000)
    monkeypatch.setattr(stations.leases, "finish", away)
    async with delivering(stations):
        stations.delivery.put(ended(run, success()))
        await until(lambda: away.num_calls > 0)
        stations.leased.let_go(run, "lost")
        stations.delivery.put(ended(await _another(stations, redis), TakenOut("drained")))
        await until(lambda: len(stations.leased) == 0)  # it went on to the next one


async def test_a_claim_that_was_lost_is_counted(redis: Redis) -> None:
    stations = Stations(redis)
    await put(make_queue(redis))
    run = await stations.claim()
    await stations.leases.release(run.claim)
    async with delivering(stations):
        stations.delivery.put(ended(run, success()))
        await until(lambda: not run.is_leased)
    assert stations.metric("mindalle_worker_leases_lost_total") == 1
    assert stations.metric("mindalle_jobs_total", outcome="succeeded") == 0


@pytest.mark.parametrize("end", [success(), Expired()])
async def test_a_job_that_the_sweep_ended_at_its_deadline_is_not_counted_again(
    redis: Redis, clock: Clock, end: End
) -> None:
    stations, sweeper = Stations(redis, clock), make_sweeper(redis, clock)
    await put(make_queue(redis, clock), deadline_s=2.0)
    run = await stations.claim()
    clock.advance(3)
    assert (await sweeper.sweep()).expired == 1
    async with delivering(stations):
        stations.delivery.put(ended(run, end))
        await until(lambda: not run.is_leased)
    assert stations.metric("mindalle_jobs_total", outcome="expired") == 0
    assert stations.metric("mindalle_worker_leases_lost_total") == 0


async def test_a_job_that_was_cancelled_before_its_commit_is_no_lost_claim(redis: Redis) -> None:
    """Whoever cancelled it has counted it, be there a worker that hears of it or not."""
    stations, queue = Stations(redis), make_queue(redis)
    job = await put(queue)
    run = await stations.claim()
    assert (await queue.cancel(job.id)).was_live
    async with delivering(stations):
        stations.delivery.put(ended(run, success()))
        await until(lambda: not run.is_leased)
    assert stations.metric("mindalle_jobs_total", outcome="succeeded") == 0
    assert stations.metric("mindalle_worker_leases_lost_total") == 0


@pytest.fixture
def relay(s3_server: S3Server) -> Iterator[Relay]:
    with Relay(s3_server) as between:
        yield between


def storing(redis: Redis, relay: Relay, patience_s: float, timeout_s: float = 0.5) -> Stations:
    """With a bucket behind a relay, which is not waited for long."""
    store = open_store(s3_settings(relay.url, timeout_s=timeout_s))
    assert store is not None
    return Stations(redis, store=store, patience_s=patience_s)


async def test_pictures_wait_for_their_store_and_nobody_waits_for_them(
    redis: Redis, relay: Relay
) -> None:
    stations, queue = storing(redis, relay, patience_s=60.0), make_queue(redis)
    job = await put(queue)
    run = await stations.claim()
    relay.refusals = 1_000_000
    async with delivering(stations):
        stations.delivery.put(ended(run, success()))
        await until(lambda: stations.delivery.is_store_away)
        stations.delivery.put(ended(await _another(stations, redis), Failed("x", "y")))
        await until(lambda: len(stations.leased) == 1)  # which needs no store
        assert run.is_leased
        relay.refusals = 0
        await until(lambda: not run.is_leased)
        assert not stations.delivery.is_store_away
    view = await queue.get(job.id)
    assert (view.status, view.attempts) == (JobStatus.SUCCEEDED, 1)


async def test_what_no_store_takes_is_handed_back_and_counts(redis: Redis, relay: Relay) -> None:
    """It may run beside others again; the last attempt makes it a dead letter."""
    stations, queue = storing(redis, relay, patience_s=0.1), make_queue(redis)
    job = await put(queue)
    relay.refusals = 1_000_000
    async with delivering(stations):
        for attempt in range(1, 4):
            run = await stations.claim()
            assert (run.claim.attempt, run.claim.is_isolated) == (attempt, False)
            stations.delivery.put(ended(run, success()))
            await until(lambda: len(stations.leased) == 0)
            wanted = JobStatus.QUEUED if attempt < 3 else JobStatus.FAILED
            assert (await queue.get(job.id)).status is wanted
    view = await queue.get(job.id)
    assert view.error is not None
    assert view.error.code == "results_unavailable"
    (letter,) = await DeadLetters(redis, result_ttl_s=1).list()
    assert (letter.job, letter.attempts) == (job, 3)
    assert (await queue.depth(job.recipe.model)).candidates == 0


async def test_a_slow_store_takes_many_at_once(redis: Redis, relay: Relay) -> None:
    stations, queue = storing(redis, relay, patience_s=60, timeout_s=20), make_queue(redis)
    jobs = [await put(queue) for _ in range(8)]
    relay.delay_s = 0.2
    async with delivering(stations):
        for run in [await stations.claim() for _ in jobs]:
            stations.delivery.put(ended(run, success(n=2)))
        await until(lambda: relay.num_running > 4)
        await until(lambda: len(stations.leased) == 0)
    for job in jobs:
        assert (await queue.get(job.id)).status is JobStatus.SUCCEEDED
