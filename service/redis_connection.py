"""How to reach Redis: one URL for a single server, TLS, or Sentinel; and is that server fit for us.

Knows nothing of what is stored there.
"""

from __future__ import annotations

from redis.asyncio import Redis

from service.settings import RedisSettings


def connect(settings: RedisSettings) -> Redis:
    """A client for `settings.url`; connects at the first command. StartRefused for a bad URL."""
    raise NotImplementedError


async def check_server(redis: Redis) -> None:
    """StartRefused when the server evicts keys or is too old; a warning where it won't say.

    QueueUnavailable when it does not answer.
    """
    raise NotImplementedError
