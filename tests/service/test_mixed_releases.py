"""Workers that claim parts beside workers of a release that knows none, on one Redis.

The other release is its scripts, sent by today's verbs.
"""

from __future__ import annotations

from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis

from service.broker.claims import Claim, LeaseState
from service.broker.keys import Key
from service.broker.leases import Leases
from service.broker.parts import Committed
from service.broker.scripts import Scripts
from service.jobs import JobStatus, JobView
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    claim_one,
    drawn,
    make_leases,
    make_queue,
    make_sweeper,
    put,
)
from tests.service.scripts_before_parts import source_before_parts
from tests.service.test_queue_simulation import Simulation

Verbs = TypeVar("Verbs")


class OtherScripts(Scripts):
    """Sends what the other release would; enqueue, view and their like are as they were."""

    def _source(self, name: str) -> tuple[str, str]:
        return source_before_parts(name) or super()._source(name)


def of_the_other(verbs: Verbs, redis: Redis, clock: Clock) -> Verbs:
    """The same verbs, as the other release's."""
    vars(verbs)["_scripts"] = OtherScripts(redis, clock)
    return verbs


async def split(redis: Redis, clock: Clock) -> tuple[Claim, Leases, Leases]:
    """A job of twelve; today's worker has eight of them, the other release's worker none."""
    new = make_leases(redis, clock, "new")
    old = of_the_other(make_leases(redis, clock, "old"), redis, clock)
    await put(make_queue(redis, clock), num_candidates=12, n=2)
    claimed = await new.claim(free_rows=8, num_running=0)
    return claimed.claims[0], new, old


async def test_a_worker_of_before_claims_whole_jobs_and_none_that_is_begun(
    redis: Redis, clock: Clock
) -> None:
    queue = make_queue(redis, clock)
    claim, new, old = await split(redis, clock)
    other = await put(queue, num_candidates=12, n=2)
    claimed = await old.claim(free_rows=4, num_running=0)
    assert [(c.job, c.part) for c in claimed.claims] == [(other, None)]
    assert await old.finish(claimed.claims[0], drawn(claimed.claims[0])) is Committed.ENDED
    rest = await claim_one(new, 4)
    assert await new.finish(rest, drawn(rest)) is Committed.PART
    assert await new.finish(claim, drawn(claim)) is Committed.ENDED
    assert (await queue.get(claim.job.id)).status is JobStatus.SUCCEEDED


async def test_a_job_in_parts_that_the_sweep_of_before_took_back_is_drawn_whole(
    redis: Redis, clock: Clock
) -> None:
    queue = make_queue(redis, clock)
    claim, new, old = await split(redis, clock)
    clock.advance(LEASE_S + 1)
    await of_the_other(make_sweeper(redis, clock), redis, clock).sweep()
    assert (await queue.get(claim.job.id)).status is JobStatus.QUEUED
    whole = await claim_one(old)
    assert await new.renew([claim], {}) == {claim.id: LeaseState.LOST}
    assert await new.finish(claim, drawn(claim)) is Committed.STALE
    assert (await new.claim(free_rows=4, num_running=1)).claims == ()
    assert await old.finish(whole, drawn(whole)) is Committed.ENDED
    await make_sweeper(redis, clock).sweep()
    assert not await redis.exists(*(key.of("tiny") for key in (Key.REST, Key.ALONE, Key.PARTS)))


async def test_the_api_of_before_cancels_a_job_in_parts(redis: Redis, clock: Clock) -> None:
    claim, new, _ = await split(redis, clock)
    api = of_the_other(make_queue(redis, clock), redis, clock)
    assert (await api.get(claim.job.id)).status is JobStatus.RUNNING
    assert (await api.cancel(claim.job.id)).view.status is JobStatus.CANCELLED
    assert await new.renew([claim], {}) == {claim.id: LeaseState.CANCELLED}
    assert (await new.claim(free_rows=4, num_running=1)).claims == ()


class MixedSimulation(Simulation):
    """One of three workers, and one of two sweeps, is of the other release."""

    def __init__(self, redis: Redis, seed: int) -> None:
        super().__init__(redis, seed)
        of_the_other(self.workers[2], redis, self.clock)
        self.sweepers = [
            self.sweeper,
            of_the_other(make_sweeper(redis, self.clock), redis, self.clock),
        ]

    async def sweep(self) -> None:
        await self.model.rng.choice(self.sweepers).sweep()

    async def check_parts(self, live: list[JobView]) -> None:
        """The other release leaves entries behind, which are dropped when they are met."""

    async def check_pictures(self, view: JobView) -> None:
        """It leaves the pictures of parts behind, too, for the lifetime of the result."""
        name = Key.IMAGES.of(view.job.id)
        files: Any = await self.redis.hkeys(name)
        for file in files:
            if file.startswith(b"p"):
                assert await self.redis.pttl(name) > 0
                await self.redis.hdel(name, file)
        await super().check_pictures(view)


@pytest.mark.parametrize("seed", range(2))
async def test_random_orders_lose_nothing_between_two_releases(redis: Redis, seed: int) -> None:
    simulation = MixedSimulation(redis, seed)
    await simulation.run(150)
    await simulation.drain()
    await simulation.check_end()
    assert simulation.model.jobs
