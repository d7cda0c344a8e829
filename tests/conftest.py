"""Fixtures that many tests share: real servers, clients on an empty database, stores of results, a
clock to turn.

The only fake is the clock.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from service.config.results import ResultsSettings
from tests.servers import RedisServer
from tests.stores import CREDENTIALS, S3Server, file_settings, s3_settings

# Else a property fails where its machine pauses for a fifth of a second, or writes examples slowly.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


class Clock:
    """Server time in the hands of a test, in milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small operations wait for each other longer than they run, above all on a busy machine.

    And pictures, which workers make without a team, are equal to the bit only if tests do so, too.
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """What a test draws from torch does not depend on the tests that happen to run before it."""
    torch.default_generator.manual_seed(11)


@pytest.fixture(scope="module")
def hangups() -> Iterator[None]:
    """Processes that a test starts hear SIGHUP, though the tests may run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Started once, by the first test that needs it; the credentials are in the environment."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture
def results(request: pytest.FixtureRequest, tmp_path: Path) -> ResultsSettings:
    """Where results are kept: Redis, or by a parameter (`tests.stores.KINDS`) elsewhere."""
    kind = getattr(request, "param", "redis")
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        return s3_settings(server.url)
    return file_settings(tmp_path / "results") if kind == "file" else ResultsSettings()
