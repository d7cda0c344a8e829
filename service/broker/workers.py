"""Which workers live: what each of them says about itself, and for how long it is believed.

Knows nothing of jobs. A worker that stops its heartbeat vanishes after the time to live.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
from dataclasses import asdict, dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from service.broker.keys import GROUP, Key
from service.broker.redis_connection import translated_errors
from service.broker.scripts import Scripts

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


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a worker's name; '' for one that says nothing of itself.

    Its last sign of life is believed until then, by the clock of Redis.
    """

    owner: str
    believed_until_ms: int


class Workers:
    """The list of live workers in Redis. `heartbeat_s`: how often this process says it lives.

    `owner` stands for this process, among all that may go by the same worker's name.
    """

    def __init__(self, redis: Redis, *, heartbeat_s: float = 1.0, owner: str | None = None) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._owner = owner or secrets.token_hex(8)
        self._ttl_ms = math.ceil(max(_SHORTEST_TTL_S, _NUM_MISSED * heartbeat_s) * 1000)

    async def heartbeat(self, info: WorkerInfo, *, gone: str | None = None) -> Holder | None:
        """Say that this worker lives; gives who has its name instead, and then says nothing.

        `gone` is an owner that is known to have ended: its name is free.
        """
        arguments = {
            "worker": info.id,
            "owner": self._owner,
            "gone": gone,
            "ttl_ms": self._ttl_ms,
            "list_ttl_ms": _LIST_TTL_MS,
        }
        found = await self._scripts.run("sign", arguments, json.dumps(asdict(info)))
        return Holder(found[0].decode(), found[1]) if found else None

    async def remove(self, worker_id: str, model: str) -> None:
        """Leave the list, as the last act of a clean end."""
        arguments = {"worker": worker_id, "owner": self._owner}
        if await self._scripts.run("leave", arguments):
            async with translated_errors():
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
