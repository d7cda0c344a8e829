"""Takes back what nobody looks after: leases that ended, jobs past their deadline.

Every API and worker process runs it about once a second; any number of them may do so at once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.redis_connection import translated_errors
from service.broker.scripts import Clock, Scripts
from service.config.groups import QueueSettings
from service.metrics import SweepMetrics

_MESSAGE = "The workers that held this job were lost."  # what its caller may know
_DETAIL = "the lease ended without a result on the last attempt"


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did, in jobs. `isolated`: of the redelivered, those that run alone next."""

    redelivered: int = 0
    isolated: int = 0
    dead: int = 0
    expired: int = 0

    def count(self, metrics: SweepMetrics) -> None:
        """Add it to what this process has swept."""
        metrics.lease_losses.inc(self.redelivered + self.dead)
        metrics.redeliveries.inc(self.redelivered)
        metrics.dead_lettered.inc(self.dead)
        metrics.expired.inc(self.expired)


class Sweeper:
    """Sweeps all models that have jobs. `clock` is for tests only."""

    def __init__(self, redis: Redis, *, policy: QueueSettings, clock: Clock | None = None) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, clock)
        self._policy = policy

    async def sweep(self) -> Swept:
        """Do it once, for every model; QueueUnavailable when Redis does not answer."""
        async with translated_errors():
            models: Any = await self._redis.smembers(Key.MODELS.of())
        counts: Counter[str] = Counter()
        for model in sorted(models):
            counts.update(await self._sweep(model.decode()))
        return Swept(**counts)

    async def _sweep(self, model: str) -> dict[str, int]:
        arguments = {
            "model": model,
            "max_attempts": self._policy.max_attempts,
            "letter_ttl_ms": math.ceil(self._policy.dead_letter_ttl_s * 1000),
            "failure": _DETAIL,
            "message": _MESSAGE,
        }
        counts: dict[str, int] = json.loads(await self._scripts.run("sweep", arguments))
        return counts
