"""The Valkey of `mindalle serve` on a folder, as the supervisor starts it, without the rest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from service.local.child import Child, Program
from service.local.embedded_valkey import prepare

_WAIT_S = 30.0


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Redis]:
    """A client of it, once it answers; it ends with the block and lets the folder go."""
    valkey = prepare(folder)
    child = Child(
        Program(
            "valkey",
            valkey.command,
            dict(os.environ),
            stdin=valkey.configuration,
            pass_fds=(valkey.lock.fileno(),),
        )
    )
    await child.start()
    async with Redis.from_url(valkey.url) as redis:
        async with asyncio.timeout(_WAIT_S):
            while not await _answers(redis):
                await asyncio.sleep(0.02)
        yield redis
    await child.end(_WAIT_S)
    valkey.lock.close()


async def _answers(redis: Redis) -> bool:
    try:
        return bool(await redis.ping())
    except RedisConnectionError:
        return False
