"""A running API on an empty queue, a worker that paints squares, and a client, for HTTP tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis

from service.broker.queue import Queue
from service.config.results import ResultsSettings
from service.store.object_store import open_store
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.makers import make_queue
from tests.service.painter import Painter, painting


@pytest.fixture
async def api(
    redis: Redis, valkey_server: RedisServer, results: ResultsSettings
) -> AsyncIterator[LiveApi]:
    """The API without keys."""
    async with serving(api_settings(valkey_server, results=results)) as live:
        yield live


@pytest.fixture
async def http(api: LiveApi) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with api.client() as client:
        yield client


@pytest.fixture
async def queue(redis: Redis, results: ResultsSettings) -> AsyncIterator[Queue]:
    """The queue as callers see it, who are woken by its events."""
    queue = make_queue(redis, store=open_store(results))
    await queue.start()
    yield queue
    await queue.close()


@pytest.fixture
async def painter(redis: Redis, results: ResultsSettings) -> AsyncIterator[Painter]:
    """A worker for `tiny`."""
    async with painting(redis, results=results) as at_work:
        yield at_work
