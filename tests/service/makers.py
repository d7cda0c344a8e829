"""Short ways to make jobs, claims and the verbs that act on them, for the queue's tests."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

from redis.asyncio import Redis

from service.broker.admission import Limits
from service.broker.claims import Claim
from service.broker.keys import Key
from service.broker.leases import Leases
from service.broker.queue import Queue
from service.broker.sweep import Sweeper
from service.config.groups import QueueSettings
from service.jobs import Image, Job, Recipe, Succeeded, new_job_id
from service.store.object_store import ObjectStore
from tests.conftest import Clock

MODEL = "tiny"
LEASE_S = 10.0
_RECIPE = {field.name for field in fields(Recipe)}
POLICY = QueueSettings(lease_s=LEASE_S, max_attempts=3, dead_letter_ttl_s=1000.0)
ROOMY = Limits(
    max_depth=10_000,
    max_candidates=100_000,
    key_candidates=100_000,
    key_rate_per_s=1e6,
    key_burst=100_000,
)


def make_job(**changes: object) -> Job:
    """A job on MODEL with one candidate, but for `changes` of the job and of its recipe."""
    recipe = make_recipe(**{name: changes.pop(name) for name in _RECIPE & changes.keys()})
    job = Job(id=new_job_id(), recipe=recipe, deadline_s=300.0)
    return replace(job, **changes)  # type: ignore[arg-type]  # each test passes fields of Job


def make_recipe(**changes: object) -> Recipe:
    """A recipe on MODEL for one candidate, but for `changes`."""
    recipe = Recipe(model=MODEL, prompt="a red cube", seed=7)
    return replace(recipe, **changes)  # type: ignore[arg-type]  # each test passes its fields


def make_queue(
    redis: Redis,
    clock: Clock | None = None,
    *,
    result_ttl_s: float = 3600.0,
    idempotency_ttl_s: float = 86_400.0,
    store: ObjectStore | None = None,
) -> Queue:
    """A queue that keeps results for an hour."""
    return Queue(
        redis,
        result_ttl_s=result_ttl_s,
        idempotency_ttl_s=idempotency_ttl_s,
        store=store,
        clock=clock,
    )


def make_leases(
    redis: Redis,
    clock: Clock | None = None,
    worker_id: str = "w1",
    store: ObjectStore | None = None,
) -> Leases:
    """A worker's verbs on MODEL."""
    return Leases(redis, model=MODEL, worker_id=worker_id, policy=POLICY, store=store, clock=clock)


def make_sweeper(redis: Redis, clock: Clock | None = None) -> Sweeper:
    """A sweeper with the same rules."""
    return Sweeper(redis, policy=POLICY, clock=clock)


def success(data: bytes = b"png", n: int = 1) -> Succeeded:
    """An outcome with `n` pictures of `data`."""
    images = tuple(Image(rank, rank, 1.0 - rank / 10, data + b"%d" % rank) for rank in range(n))
    return Succeeded(images, size="32x32", timings_s={"step": 0.5})


def score_of(job: Job, candidate: int) -> float:
    """Its score where nothing is drawn: some candidates of a job have the same one."""
    return (candidate * 7 + job.recipe.seed) % 11 / 10 - 0.3


def drawn(claim: Claim) -> Succeeded:
    """What a claim gives where nothing is drawn: its best candidates, files with their numbers."""
    job = claim.job
    best = sorted(claim.candidates, key=lambda candidate: (-score_of(job, candidate), candidate))
    images = tuple(
        Image(rank, candidate, score_of(job, candidate), b"%d" % candidate, {"v=1": b"~"})
        for rank, candidate in enumerate(best[: job.recipe.n])
    )
    timings_s = {"queue_wait": claim.waited_s, "step": 0.5}
    return Succeeded(images, "32x32", timings_s, num_drawn=len(claim.candidates))


async def put(queue: Queue, **changes: object) -> Job:
    """Enqueue a job without limits."""
    job = make_job(**changes)
    await queue.enqueue(job, ROOMY)
    return job


async def progress_told(redis: Redis, job_id: str) -> list[int]:
    """Codes that were done at each `progress` that its events have."""
    entries: Any = await redis.xrange(Key.EVENTS.of(job_id))
    return [json.loads(e[b"data"])["codes_done"] for _, e in entries if e[b"name"] == b"progress"]


async def claim_one(leases: Leases, free_rows: int = 1) -> Claim:
    """The next job, of at least so many candidates, or as many of them; there must be one."""
    claimed = await leases.claim(free_rows=free_rows, num_running=0)
    (claim,) = claimed.claims
    return claim


async def lag(redis: Redis) -> int | None:
    """How many tickets no worker has taken yet."""
    (group,) = await redis.xinfo_groups(Key.TICKETS.of(MODEL))
    value: int | None = group["lag"]
    return value
