"""Messages for callers' own servers, which lua/outbox.lua writes where a job changes its state:
lease those that are due, say how an attempt ended, count them.

Any number of processes may do so at once. Knows no HTTP; what was given up is in hook_letters.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from redis.asyncio import Redis

from service.broker.scripts import Clock, Scripts
from service.broker.views import job_view
from service.jobs import JobView

AttemptEnd = Literal["delivered", "waits", "dead", "stale"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message: where it goes, its event, when that was (ms, Redis server time), and the job as
    it stood then.

    `attempt` counts from 1. `error` is how the last one failed, or empty.
    """

    id: str
    host: str
    event: str
    at_ms: int
    attempt: int
    error: str
    snapshot: tuple[bytes, ...]

    @classmethod
    def of(cls, message_id: bytes, flat: Sequence[bytes]) -> Self:
        """From its hash, flat."""
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return cls(
            id=message_id.decode(),
            host=fields.get(b"hook_host", b"").decode(),
            event=fields.get(b"hook_event", b"").decode(),
            at_ms=int(fields.get(b"hook_ms", 0)),
            attempt=int(fields.get(b"hook_attempts", 0)),
            error=fields.get(b"hook_error", b"").decode(),
            snapshot=tuple(flat),
        )

    @property
    def job_id(self) -> str:
        """The job that it tells of, as its id says."""
        return f"job_{self.id.split('_')[1]}"

    def view(self) -> JobView:
        """The job as it stood."""
        return job_view([b"{}", *self.snapshot])


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """How many messages wait, for how long the oldest has, and how many were given up."""

    waiting: int
    oldest_age_s: float
    letters: int


class Outbox:
    """Every verb raises QueueUnavailable when Redis does not answer. `clock` is for tests only."""

    def __init__(
        self, redis: Redis, *, lease_s: float, letter_ttl_s: float, clock: Clock | None = None
    ) -> None:
        self._scripts = Scripts(redis, clock)
        self._lease_ms = math.ceil(lease_s * 1000)
        self._letter_ttl_ms = math.ceil(letter_ttl_s * 1000)

    async def claim(
        self, limit: int, *, per_host: int, running: Mapping[str, int]
    ) -> list[Message]:
        """At most `limit` messages that are due, the oldest first; whoever got them sends them.

        No host gets more than `per_host` at once from this process, which is sending `running` of
        each.
        """
        arguments = {
            "limit": limit,
            "per_host": per_host,
            "running": dict(running),
            "lease_ms": self._lease_ms,
        }
        claimed = await self._scripts.run("hook_claim", arguments)
        return [Message.of(message_id, flat) for message_id, *flat in claimed]

    async def delivered(self, message: Message) -> AttemptEnd:
        """It has arrived, and is forgotten."""
        return await self._end({"id": message.id})

    async def failed(
        self, message: Message, error: str, *, wait_s: float, is_final: bool = False
    ) -> AttemptEnd:
        """It has not. The next attempt may be made in `wait_s`; none with `is_final`."""
        arguments = {
            "id": message.id,
            "attempt": message.attempt,
            "error": error,
            "wait_ms": math.ceil(wait_s * 1000),
            "is_final": is_final,
            "letter_ttl_ms": self._letter_ttl_ms,
        }
        return await self._end(arguments)

    async def _end(self, arguments: Mapping[str, object]) -> AttemptEnd:
        end: bytes = await self._scripts.run("hook_end", arguments)
        word: AttemptEnd = end.decode()  # type: ignore[assignment]  # the script's own words
        return word

    async def depth(self) -> OutboxDepth:
        """How full it is."""
        reply = json.loads(await self._scripts.run("hook_depth", {}))
        return OutboxDepth(oldest_age_s=reply.pop("oldest_age_ms") / 1000, **reply)
