"""The page in one browser that all files of this folder share.

It is an API's with a painter at work: a worker that waits when it is told to, for states that a
real one is rarely in. A file about the whole service gives another `address`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis

from tests.e2e.browser import chromium, watched_page
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.painter import Painter, painting

expect.set_options(timeout=20_000)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Started by the first test that needs it; a page of it is a fresh profile each time."""
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(valkey_server: RedisServer) -> AsyncIterator[LiveApi]:
    async with serving(api_settings(valkey_server)) as live:
        yield live


@pytest_asyncio.fixture(loop_scope="session")
async def emptied(valkey_server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey_server.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def painter(emptied: Redis) -> AsyncIterator[Painter]:
    async with painting(emptied) as at_work:
        yield at_work


@pytest.fixture
def address(api: LiveApi, painter: Painter) -> str:
    """Of the server whose page is looked at."""
    return api.url


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, address: str) -> AsyncIterator[Page]:
    """The page with its model there to choose."""
    async with watched_page(browser, address) as watched:
        await expect(watched.page.locator("#model option")).to_have_count(1)
        yield watched.page


async def draw(page: Page, prompt: str = "a red apple") -> None:
    """What a visitor does first."""
    await page.fill("#prompt", prompt)
    await page.click("#draw")
