"""Many random orders of events on a real server: no job lost, none ends twice, counters exact."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from redis.asyncio import Redis

from service.broker.admission import Limits
from service.broker.claims import Claim, LeaseState
from service.broker.dead_letters import DeadLetters
from service.broker.keys import GROUP, Key
from service.broker.leases import Leases
from service.broker.parts import Committed
from service.broker.sweep import Sweeper
from service.config.groups import QueueSettings
from service.errors import KeyShareExceeded, QueueFull, RateLimited
from service.jobs import TERMINAL, Expired, Failed, Job, JobStatus, JobView, Outcome, Priority
from tests.conftest import Clock
from tests.service.makers import (
    LEASE_S,
    MODEL,
    POLICY,
    ROOMY,
    drawn,
    make_job,
    make_leases,
    make_queue,
    make_sweeper,
    score_of,
    success,
)

LIMITS = Limits(
    max_depth=12, max_candidates=60, key_candidates=40, key_rate_per_s=50.0, key_burst=20
)


@dataclass
class Model:
    """What must be true of Redis, kept beside it in plain Python."""

    rng: random.Random
    jobs: dict[str, Job] = field(default_factory=dict)
    claims: list[tuple[int, Claim]] = field(default_factory=list)  # stale ones stay, as zombies
    given: dict[str, list[Claim]] = field(default_factory=dict)  # all claims, by job
    ends: dict[str, JobStatus] = field(default_factory=dict)


class Simulation:
    """One queue, three workers that may fall silent, a sweeper, and the model to compare with."""

    def __init__(self, redis: Redis, seed: int) -> None:
        self.redis = redis
        self.clock = Clock()
        self.queue = make_queue(redis, self.clock)
        self.workers = [make_leases(redis, self.clock, f"w{n}") for n in range(3)]
        self.sweeper = make_sweeper(redis, self.clock)
        self.model = Model(random.Random(seed))

    async def run(self, num_events: int) -> None:
        """Random events, with the invariants checked after each."""
        actions = [self.enqueue] * 4 + [self.claim] * 4 + [self.finish] * 4
        actions += [self.cancel, self.crash, self.release, self.renew, self.renew, self.zombie]
        actions += [self.sweep, self.pass_time, self.pass_time]
        for _ in range(num_events):
            await self.model.rng.choice(actions)()
            await self.check()

    async def enqueue(self) -> None:
        rng = self.model.rng
        job = make_job(
            num_candidates=rng.choice([1, 2, 4, 16]),
            priority=rng.choice(list(Priority)),
            key_id=rng.choice("abc"),
            deadline_s=rng.choice([15.0, 60.0, 600.0]),
            seed=rng.randrange(11),
            min_score=rng.choice([None, None, None, 0.5]),
        )
        job = replace(job, recipe=replace(job.recipe, n=min(job.recipe.num_candidates, 3)))
        try:
            await self.queue.enqueue(job, LIMITS)
        except (QueueFull, RateLimited, KeyShareExceeded):
            return
        self.model.jobs[job.id] = job

    async def claim(self) -> None:
        index = self.model.rng.randrange(3)
        num_running = sum(owner == index for owner, _ in self.model.claims)
        claimed = await self.workers[index].claim(
            free_rows=self.model.rng.choice([1, 4, 8]), num_running=num_running
        )
        for claim in claimed.claims:
            before = self.model.given.setdefault(claim.job.id, [])
            assert claim.fence > max((c.fence for c in before), default=0), "a fence came twice"
            assert claim.attempt <= POLICY.max_attempts
            assert not claim.is_isolated or (num_running == 0 and len(claimed.claims) == 1)
            assert claim.job.min_score is None or claim.part is None
            before.append(claim)
            self.model.claims.append((index, claim))

    def pick(self) -> tuple[int, Claim] | None:
        """Some claim, held or stale; it is let go."""
        if not self.model.claims:
            return None
        return self.model.claims.pop(self.model.rng.randrange(len(self.model.claims)))

    async def finish(self) -> None:
        if picked := self.pick():
            index, claim = picked
            outcomes: list[Outcome] = [*[drawn(claim)] * 6, Failed("x", "y"), Expired()]
            outcome = self.model.rng.choice(outcomes)
            await self.end(claim, await self.workers[index].finish(claim, outcome))

    async def zombie(self) -> None:
        """A worker that was frozen commits, and keeps the claim to try once more."""
        if self.model.claims:
            index, claim = self.model.rng.choice(self.model.claims)
            await self.end(claim, await self.workers[index].finish(claim, drawn(claim)))

    async def end(self, claim: Claim, committed: Committed) -> None:
        later = [c for c in self.model.given[claim.job.id] if c.fence > claim.fence]
        was_taken = any(set(c.candidates) & set(claim.candidates) for c in later)
        assert committed is Committed.STALE or not was_taken, "a stale fence committed"
        assert committed is not Committed.PART or claim.part is not None

    async def crash(self) -> None:
        if picked := self.pick():
            await self.workers[picked[0]].crashed(picked[1], "boom")

    async def release(self) -> None:
        if picked := self.pick():
            await self.workers[picked[0]].release(picked[1])

    async def renew(self) -> None:
        index = self.model.rng.randrange(3)
        own = {claim.id: claim for owner, claim in self.model.claims if owner == index}
        states = await self.workers[index].renew(list(own.values()), {})
        gone = [own[name] for name, state in states.items() if state is not LeaseState.HELD]
        self.model.claims = [pair for pair in self.model.claims if pair[1] not in gone]

    async def cancel(self) -> None:
        if self.model.jobs:
            cancelled = await self.queue.cancel(self.model.rng.choice(list(self.model.jobs)))
            assert cancelled.view.is_terminal

    async def sweep(self) -> None:
        await self.sweeper.sweep()

    async def pass_time(self) -> None:
        self.clock.advance(self.model.rng.choice([0.5, 3, LEASE_S + 1]))

    async def check(self) -> None:
        """Every job has one state; counters and tickets say the same as the states."""
        views = [await self.queue.get(name) for name in self.model.jobs.keys() - self.model.ends]
        self.model.ends |= {view.job.id: view.status for view in views if view.is_terminal}
        live = [view for view in views if not view.is_terminal]
        waiting = [view for view in live if view.status is JobStatus.QUEUED]
        depth = await self.queue.depth(MODEL)
        assert depth.waiting == len(waiting)
        assert depth.running == len(live) - len(waiting)
        assert depth.candidates == sum(view.job.recipe.num_candidates for view in live)
        assert depth.candidates <= LIMITS.max_candidates
        await self.check_counters(live, waiting)
        await self.check_parts(live)
        await self.check_positions(waiting)

    async def check_counters(self, live: list[JobView], waiting: list[JobView]) -> None:
        shares = Counter[bytes]()
        for view in live:
            shares[view.job.key_id.encode()] += view.job.recipe.num_candidates
        raw = await self.redis.hgetall(Key.SHARES.of(MODEL))
        assert {key: int(value) for key, value in raw.items()} == dict(shares)
        load = await self.redis.hgetall(Key.LOAD.of(MODEL))
        assert int(load.get(b"waiting", 0)) == sum(v.job.recipe.num_candidates for v in waiting)
        if await self.redis.exists(Key.TICKETS.of(MODEL)):
            (group,) = await self.redis.xinfo_groups(Key.TICKETS.of(MODEL))
            assert group["name"] == GROUP.encode()
            assert group["lag"] == len(waiting)
            assert group["pending"] == len(live) - len(waiting)

    async def check_parts(self, live: list[JobView]) -> None:
        """Parts make up their job; who holds one is in one index, who lacks one in another."""
        held, offered = set[str](), {Key.REST: set[str](), Key.ALONE: set[str]()}
        for view in live:
            raw = await self.redis.hget(Key.JOB.of(view.job.id), "parts")
            parts = json.loads(raw)["list"] if raw else []
            ends = [0, *(part["first"] + part["count"] for part in parts)]
            assert [part["first"] for part in parts] == ends[:-1]
            assert not parts or ends[-1] == view.job.recipe.num_candidates
            for part in parts if view.status is JobStatus.RUNNING else []:
                if part["state"] == "held":
                    held.add(f"{view.job.id} {part['fence']}")
                if part["state"] == "free":
                    offered[Key.ALONE if part["alone"] else Key.REST].add(view.job.id)
        assert await self.members(Key.PARTS) == held
        for key, jobs in offered.items():
            assert await self.members(key) == jobs

    async def members(self, key: Key) -> set[str]:
        """Of a sorted set of the model's."""
        names: Any = await self.redis.zrange(key.of(MODEL), 0, -1)
        return {name.decode() for name in names}

    async def check_positions(self, waiting: list[JobView]) -> None:
        assert sorted(view.position or 0 for view in waiting) == list(range(len(waiting)))

    async def drain(self) -> None:
        """Let a healthy worker end all that is left."""
        self.model.claims.clear()
        for _ in range(500):
            self.clock.advance(1)
            await self.sweeper.sweep()
            claimed = await self.workers[0].claim(free_rows=8, num_running=0)
            for claim in claimed.claims:
                await self.workers[0].finish(claim, drawn(claim))
            if (await self.queue.depth(MODEL)).candidates == 0:
                return
        raise AssertionError("the queue does not drain")

    async def check_end(self) -> None:
        """Each job ended once: one terminal event, pictures exactly where it succeeded."""
        letters = {letter.job.id for letter in await DeadLetters(self.redis, result_ttl_s=1).list()}
        for job_id in self.model.jobs:
            view = await self.queue.get(job_id)
            assert view.status is self.model.ends.get(job_id, view.status), "an end was changed"
            names = [event.name async for event in self.queue.events(job_id)]
            assert [name for name in names if name in TERMINAL] == [view.status.value]
            assert names[-1] == view.status.value
            await self.check_pictures(view)
            if job_id in letters:
                assert view.status is JobStatus.FAILED

    async def check_pictures(self, view: JobView) -> None:
        """The best of all candidates, whoever drew them; not one file more."""
        files: Any = await self.redis.hgetall(Key.IMAGES.of(view.job.id))
        if view.status is not JobStatus.SUCCEEDED:
            assert not files
            return
        num_drawn = view.job.first_candidates
        order = sorted(range(num_drawn), key=lambda c: (-score_of(view.job, c), c))
        best = order[: view.job.recipe.n]
        shown = [(image.candidate, image.score) for image in view.images]
        assert shown == [(candidate, score_of(view.job, candidate)) for candidate in best]
        expected = {b"%d" % rank: b"%d" % candidate for rank, candidate in enumerate(best)}
        assert files == expected | {b"%d?v=1" % rank: b"~" for rank in range(len(best))}


@pytest.mark.parametrize("seed", range(6))
async def test_random_orders_lose_nothing(redis: Redis, seed: int) -> None:
    simulation = Simulation(redis, seed)
    await simulation.run(150)
    await simulation.drain()
    await simulation.check_end()
    assert simulation.model.jobs


async def test_random_orders_on_the_other_server(every_redis: Redis) -> None:
    simulation = Simulation(every_redis, 99)
    await simulation.run(100)
    await simulation.drain()
    await simulation.check_end()


async def test_workers_that_die_and_freeze_in_real_time(every_redis: Redis) -> None:
    """Short leases, server time, eight workers at once: each job ends once, with its own bytes."""
    rng = random.Random(5)
    policy = QueueSettings(lease_s=0.1, max_attempts=100, dead_letter_ttl_s=60)
    queue, sweeper = make_queue(every_redis), Sweeper(every_redis, policy=policy)
    jobs = [make_job(seed=seed) for seed in range(80)]
    for job in jobs:
        await queue.enqueue(job, ROOMY)

    async def work(number: int) -> None:
        leases = Leases(every_redis, model=MODEL, worker_id=f"w{number}", policy=policy)
        while (await queue.depth(MODEL)).candidates:
            claimed = await leases.claim(free_rows=3, num_running=0, block_s=0.02)
            for claim in claimed.claims:
                if rng.random() < 0.2:
                    continue  # dies: nobody renews
                if rng.random() < 0.1:
                    await asyncio.sleep(0.25)  # freezes past its lease, then goes on
                await leases.finish(claim, success(b"%d-" % claim.job.recipe.seed))
            await sweeper.sweep()

    await asyncio.gather(*(work(number) for number in range(8)))
    for job in jobs:
        view = await queue.get(job.id)
        names = [event.name async for event in queue.events(job.id)]
        assert view.status is JobStatus.SUCCEEDED
        assert names.count("succeeded") == 1
        assert await queue.image(job.id, 0) == b"%d-0" % job.recipe.seed
    assert any([(await queue.get(job.id)).attempts > 1 for job in jobs])
