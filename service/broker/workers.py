"""Which workers live: what each of them says about itself, and for how long it is believed.

Knows nothing of jobs. A worker that stops its heartbeat vanishes after the time to live.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from service.broker.keys import GROUP, Key
from service.broker.redis_connection import translated_errors

_log = logging.getLogger(__name__)

_SHORTEST_TTL_S = 5.0  # a busy machine's heartbeat may come late
_NUM_MISSED = 3  # heartbeats in a row, before a worker counts as gone
_LIST_TTL_MS = 600_000  # longer than any worker's own

WorkerState = Literal["loading", "ready", "draining", "failing"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What callers may know of the model that a worker holds.

    `size` is pixels as "256x256". `prompt_len` positions hold the prompt, padding included; then
    come `num_steps` steps per candidate, each drawing from `vocab_size` codes. A default of None
    means no cut.
    """

    model: str
    licence: str
    size: str
    prompt_len: int
    prompt_kind: Literal["text", "class", "none"]
    max_candidates: int
    default_num_candidates: int
    vocab_size: int
    num_steps: int
    default_top_k: int | None
    default_top_p: float | None
    default_temperature: float
    weights_digest: str
    num_classes: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker's sign of life. `num_steps` only grows; `state` failing takes it out of readiness.

    `is_progressing`: steps were made since the last heartbeat, or nothing runs.
    """

    id: str
    state: WorkerState
    card: ModelCard
    rows_total: int
    rows_busy: int
    candidates_per_s: float
    num_steps: int
    is_progressing: bool
    version: str

    @property
    def is_serving(self) -> bool:
        """True when new jobs for its model will be picked up."""
        return self.state == "ready" and self.is_progressing


class Workers:
    """The list of live workers in Redis. `heartbeat_s`: how often this process says it lives."""

    def __init__(self, redis: Redis, *, heartbeat_s: float = 1.0) -> None:
        self._redis = redis
        self._ttl_ms = math.ceil(max(_SHORTEST_TTL_S, _NUM_MISSED * heartbeat_s) * 1000)

    async def heartbeat(self, info: WorkerInfo) -> None:
        """Say that this worker lives."""
        async with translated_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(Key.WORKER.of(info.id), json.dumps(asdict(info)), px=self._ttl_ms)
            pipeline.sadd(Key.WORKERS.of(), info.id)
            pipeline.pexpire(Key.WORKERS.of(), _LIST_TTL_MS)
            await pipeline.execute()

    async def remove(self, worker_id: str, model: str) -> None:
        """Leave the list, as the last act of a clean end."""
        async with translated_errors():
            await self._redis.delete(Key.WORKER.of(worker_id))
            await self._redis.srem(Key.WORKERS.of(), worker_id)
            await self._forget_consumer(worker_id, Key.TICKETS.of(model))

    async def _forget_consumer(self, worker_id: str, tickets: str) -> None:
        """Take the name out of the consumer group, unless jobs are still on it."""
        if not await self._redis.exists(tickets):
            return
        consumers = await self._redis.xinfo_consumers(tickets, GROUP)
        if any(c["name"] == worker_id.encode() and c["pending"] == 0 for c in consumers):
            await self._redis.xgroup_delconsumer(tickets, GROUP, worker_id)

    async def list(self) -> list[WorkerInfo]:
        """All workers whose last heartbeat is fresh, by id."""
        async with translated_errors():
            members: Any = await self._redis.smembers(Key.WORKERS.of())
            ids = sorted(member.decode() for member in members)
            signs: Any = (
                await self._redis.mget([Key.WORKER.of(worker) for worker in ids]) if ids else []
            )
            gone = [worker for worker, sign in zip(ids, signs, strict=True) if sign is None]
            if gone:
                await self._redis.srem(Key.WORKERS.of(), *gone)
        infos = [_info(sign) for sign in signs if sign is not None]
        return [info for info in infos if info is not None]


def _info(sign: bytes) -> WorkerInfo | None:
    """None for a worker of another version, whose words we do not understand."""
    values = json.loads(sign)
    try:
        return WorkerInfo(**values | {"card": ModelCard(**values["card"])})
    except TypeError:
        _log.warning("worker %s speaks of other things than we know", values.get("id"))
        return None
