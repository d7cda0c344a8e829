"""Jobs that were given up: list them, try one again, throw one away.

For the operator's command line. A letter holds the whole job and the last error.
"""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from service.jobs import Job


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

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def list(self, limit: int = 100) -> list[DeadLetter]:
        """The newest `limit` letters."""
        raise NotImplementedError

    async def retry(self, letter_id: str) -> str:
        """Queue the job again under a new id, which is returned; the letter is removed.

        Limits are not checked: the operator decides. NotFound when there is no such letter.
        """
        raise NotImplementedError

    async def drop(self, letter_id: str) -> None:
        """Remove a letter; NotFound when there is none."""
        raise NotImplementedError
