"""Messages to callers' own servers that were given up: list them, send one again, throw one away.

For the operator's command line. What becomes of them before that is in outbox.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.outbox import Message
from service.broker.redis_connection import translated_errors
from service.broker.scripts import Scripts
from service.errors import NotFound
from service.jobs import Job

PREFIX = "msg_"  # of a message's id, which is its letter's, too


@dataclass(frozen=True, slots=True)
class HookLetter:
    """One such message, with its last error; `died_ms` is Redis server time."""

    id: str
    job: Job
    event: str
    host: str
    error: str
    attempts: int
    died_ms: int


class HookLetters:
    """The letters, newest first."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    async def list(self, limit: int = 100) -> list[HookLetter]:
        """The newest `limit` letters."""
        async with translated_errors():
            found: Any = await self._redis.zrevrange(
                Key.HOOK_LETTERS.of(), 0, limit - 1, withscores=True
            )
            async with self._redis.pipeline(transaction=False) as pipeline:
                for letter_id, _ in found:
                    pipeline.hgetall(Key.HOOK.of(letter_id.decode()))
                hashes: Any = await pipeline.execute()
        return [
            _letter(letter_id, fields, int(died_ms))
            for (letter_id, died_ms), fields in zip(found, hashes, strict=True)
            if fields
        ]

    async def retry(self, letter_id: str) -> None:
        """Send it again, for a day if need be; NotFound when there is no such letter."""
        await self._act({"id": letter_id, "retry": True})

    async def drop(self, letter_id: str) -> None:
        """Throw it away; NotFound when there is no such letter."""
        await self._act({"id": letter_id})

    async def _act(self, arguments: dict[str, Any]) -> None:
        if not await self._scripts.run("hook_letter", arguments):
            raise NotFound(f"There is no dead letter {arguments['id']!r}.")


def _letter(letter_id: bytes, fields: dict[bytes, bytes], died_ms: int) -> HookLetter:
    message = Message.of(letter_id, [part for item in fields.items() for part in item])
    return HookLetter(
        id=message.id,
        job=message.view().job,
        event=message.event,
        host=message.host,
        error=message.error,
        attempts=message.attempt,
        died_ms=died_ms,
    )
