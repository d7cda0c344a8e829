"""The worker's side of the queue: claim jobs, keep them, end them or hand them back.

A claim is a lease with a fencing token. Every verb that changes a job sends the token and changes
nothing when it is stale. What happens to leases that nobody renews is in sweep.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from redis.asyncio import Redis

from service.jobs import Job, Outcome, Progress


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker may run until its lease ends.

    `fence` grows with every claim of the job. `attempt` is 1 the first time. `remaining_s` is the
    time to the job's deadline and `waited_s` the time since it was accepted, both at the claim.
    An isolated job runs alone: start nothing beside it and claim nothing until it has ended.
    """

    job: Job
    fence: int
    attempt: int
    is_isolated: bool
    remaining_s: float
    waited_s: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a call of `claim` brought. `must_drain`: claim nothing more until no job runs here."""

    claims: tuple[Claim, ...]
    must_drain: bool


class LeaseState(StrEnum):
    """What a renewal found. All but HELD mean: evict the job's rows and forget the claim."""

    HELD = "held"
    LOST = "lost"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """The rules of redelivery and of keeping results; seconds of Redis server time."""

    lease_s: float
    max_attempts: int
    result_ttl_s: float
    dead_letter_ttl_s: float


class Leases:
    """Verbs of one worker process for one model.

    Every verb raises QueueUnavailable when Redis does not answer; the job's lease then still runs.
    Safe to repeat after such an error: a second `finish` of the same claim returns True again.
    """

    def __init__(self, redis: Redis, *, model: str, worker_id: str, policy: LeasePolicy) -> None:
        self._redis = redis

    async def claim(self, *, free_rows: int, num_running: int, block_s: float = 0.0) -> Claimed:
        """Take the best waiting jobs until their candidates fill `free_rows` or overfill it.

        With nothing to take, waits up to `block_s` for a new job and tries once more. With
        `num_running` 0 it may bring one isolated job instead, and nothing beside it.
        """
        raise NotImplementedError

    async def renew(
        self, claims: Sequence[Claim], progress: Mapping[str, Progress]
    ) -> dict[str, LeaseState]:
        """Prolong the leases and store progress (by job id). Only call it when steps were made."""
        raise NotImplementedError

    async def publish(
        self, claim: Claim, name: str, data: Mapping[str, object], image: bytes | None = None
    ) -> bool:
        """Append an event (`progress`, `partial_image`); False when the claim is stale."""
        raise NotImplementedError

    async def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """Commit images, state and acknowledgement in one step; False when the claim is stale."""
        raise NotImplementedError

    async def release(self, claim: Claim) -> bool:
        """Hand it back for another worker (drain): old place in the order, attempt not counted."""
        raise NotImplementedError

    async def crashed(self, claim: Claim, failure: str) -> bool:
        """A batch with this job in it crashed: try it alone next time, or make it a dead letter."""
        raise NotImplementedError

    def cancellations(self) -> AsyncIterator[str]:
        """Ids of running jobs that callers cancel, as it happens; for the life of the worker.

        Reconnects by itself. Messages lost meanwhile are made up for by `renew`.
        """
        raise NotImplementedError
