"""Jobs that were given up: list them, try one again, throw one away.

For the operator's command line. A letter holds the whole job and the last error.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis

from service.broker.admission import entry_of
from service.broker.keys import Key
from service.broker.redis_connection import translated_errors
from service.broker.scripts import Scripts
from service.errors import NotFound
from service.jobs import Job, new_job_id

_LETTER_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One job that failed for good, with its last error; `died_ms` is Redis server time."""

    id: str
    job: Job
    error: str
    attempts: int
    died_ms: int


class DeadLetters:
    """The stream of dead letters, newest first."""

    def __init__(self, redis: Redis, *, result_ttl_s: float) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._ttl_ms = math.ceil(result_ttl_s * 1000)

    async def list(self, limit: int = 100) -> list[DeadLetter]:
        """The newest `limit` letters."""
        async with translated_errors():
            entries: Any = await self._redis.xrevrange(Key.DEAD.of(), count=limit)
        return [_letter(entry_id, entry) for entry_id, entry in entries]

    async def retry(self, letter_id: str) -> str:
        """Queue the job again under a new id, which is returned; the letter is removed.

        Limits are not checked: the operator decides. NotFound when there is no such letter, or when
        the picture that the job began with is no longer kept.
        """
        letter = await self._get(letter_id)
        job = replace(letter.job, id=new_job_id())
        has_source = job.recipe.source is not None
        arguments = entry_of(job, self._ttl_ms) | {"letter": letter_id, "was": letter.job.id}
        arguments["has_source"] = has_source
        reply = json.loads(await self._scripts.run("enqueue", arguments, job.to_json()))
        if reply["status"] == "without_source":
            raise NotFound(f"The picture that {letter_id!r} began with is no longer kept.")
        if reply["status"] != "ok":
            raise _no_letter(letter_id)
        return job.id

    async def _get(self, letter_id: str) -> DeadLetter:
        if not _LETTER_ID.fullmatch(letter_id):
            raise _no_letter(letter_id)
        async with translated_errors():
            entries: Any = await self._redis.xrange(Key.DEAD.of(), min=letter_id, max=letter_id)
        if not entries:
            raise _no_letter(letter_id)
        return _letter(*entries[0])

    async def drop(self, letter_id: str) -> None:
        """Remove a letter; NotFound when there is none."""
        letter = await self._get(letter_id)
        async with translated_errors():
            await self._redis.xdel(Key.DEAD.of(), letter.id)


def _no_letter(letter_id: str) -> NotFound:
    return NotFound(f"There is no dead letter {letter_id!r}.")


def _letter(entry_id: bytes, entry: dict[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        id=entry_id.decode(),
        job=Job.from_json(entry[b"body"]),
        error=entry.get(b"error", b"").decode(),
        attempts=int(entry.get(b"attempts", 0)),
        died_ms=int(entry.get(b"died_ms", 0)),
    )
