"""Takes back what nobody looks after: leases that ended, jobs past their deadline.

Every API and worker process runs it about once a second; any number of them may do so at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from service.leases import LeasePolicy


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did, in jobs."""

    redelivered: int = 0
    isolated: int = 0
    dead: int = 0
    expired: int = 0


class Sweeper:
    """Sweeps all models that have jobs."""

    def __init__(self, redis: Redis, *, policy: LeasePolicy) -> None:
        self._redis = redis

    async def sweep(self) -> Swept:
        """Do it once, for every model; QueueUnavailable when Redis does not answer."""
        raise NotImplementedError
