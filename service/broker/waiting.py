"""Whether jobs wait for a model, for a worker that would have to load it first. Claims nothing."""

from __future__ import annotations

from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.redis_connection import translated_errors


async def has_waiting(redis: Redis, model: str) -> bool:
    """Whether a job waits, or some of one that runs. QueueUnavailable when Redis is away."""
    queues = [key.of(model) for key in (Key.WAITING, Key.ISOLATED, Key.REST, Key.ALONE)]
    async with translated_errors():
        return int(await redis.exists(*queues)) > 0
