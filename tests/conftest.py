"""Fixtures that many tests share: real servers, clients on an empty database, a clock to turn.

The only fake is the clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from tests.servers import RedisServer


class Clock:
    """Server time in the hands of a test, in milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from _running("valkey", tmp_path_factory)


@pytest.fixture(scope="session", params=["valkey", "redis"])
def every_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Valkey 9 and the system's Redis (7.0 in Debian), one after the other."""
    yield from _running(request.param, tmp_path_factory)


def _running(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(kind, tmp_path_factory.mktemp(kind))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(valkey_server: RedisServer) -> AsyncIterator[Redis]:
    """A client on an empty Valkey."""
    async for client in _emptied(valkey_server):
        yield client


@pytest.fixture
async def every_redis(every_server: RedisServer) -> AsyncIterator[Redis]:
    """The same on every kind of server."""
    async for client in _emptied(every_server):
        yield client


async def _emptied(server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(server.url)
    await client.flushall()
    yield client
    await client.aclose()
