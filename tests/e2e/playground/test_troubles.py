"""The page while the service is full, without a worker, or locked: it says so and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, expect
from pydantic import SecretStr
from redis.asyncio import Redis

from service.broker.stopping import stop
from tests.e2e.browser import serious_axe_violations, watched_page
from tests.e2e.playground.conftest import draw
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.painter import TEXT_CARD, Painter, painting

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


@asynccontextmanager
async def _idle_worker(redis: Redis) -> AsyncIterator[None]:
    """A worker that gives signs of life but takes no job."""

    async def live() -> None:
        while True:
            await Painter(redis, TEXT_CARD).announce()
            await asyncio.sleep(0.5)

    living = asyncio.create_task(live())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        await stop(living)


async def test_a_full_queue_says_when_to_come_back(
    browser: Browser, emptied: Redis, valkey_server: RedisServer
) -> None:
    async with (
        _idle_worker(emptied),
        serving(api_settings(valkey_server, queue={"max_depth": 1})) as api,
        watched_page(browser, api.url) as watched,
    ):
        page = watched.page
        await draw(page)
        await expect(page.locator(".state")).to_contain_text("Next in line")
        await draw(page)
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("The queue is full.")
        await expect(problem).to_contain_text("room again in about 10 s")
        await expect(problem.get_by_role("button")).to_contain_text("Try again in")
        await expect(problem.get_by_role("button")).to_be_disabled()
        assert await serious_axe_violations(page) == []


async def test_too_fast_a_caller_is_told_of_the_rate_not_of_the_queue(
    browser: Browser, painter: Painter, valkey_server: RedisServer
) -> None:
    slow = {"key_rate_per_s": 0.02, "key_burst": 1}
    async with (
        serving(api_settings(valkey_server, queue=slow)) as api,
        watched_page(browser, api.url) as watched,
    ):
        await draw(watched.page)
        await expect(watched.page.locator("button.tile")).to_have_count(4)
        await draw(watched.page)
        problem = watched.page.locator(".problem")
        await expect(problem).to_contain_text("The next job may be sent in about")


async def test_without_a_worker_the_page_says_so_and_goes_on_when_one_comes(
    browser: Browser, api: LiveApi, emptied: Redis
) -> None:
    async with watched_page(browser, api.url) as watched:
        page = watched.page
        await expect(page.locator("#notices")).to_contain_text("Nobody is here to draw.")
        await expect(page.locator("#status")).to_contain_text("no worker")
        async with painting(emptied):
            await expect(page.locator("#model option")).to_have_count(1)
            await expect(page.locator("#notices .problem")).to_have_count(0)
            await draw(page)
            await expect(page.locator("button.tile")).to_have_count(4)


async def test_a_key_is_asked_for_only_by_a_server_that_wants_one(
    browser: Browser, painter: Painter, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, api_keys=SecretStr("ann:s3cret-word"))
    async with serving(settings) as api, watched_page(browser, api.url) as watched:
        page = watched.page
        await expect(page.get_by_label("API key")).to_be_visible()
        assert await serious_axe_violations(page) == []
        await page.get_by_label("API key").fill("wrong")
        await page.get_by_role("button", name="Use this key").click()
        await expect(page.locator("#key-hint")).to_contain_text("does not know this key")
        await page.get_by_label("API key").fill("пароль")  # which no header can carry
        await page.get_by_role("button", name="Use this key").click()
        await expect(page.locator("#status")).to_contain_text("wants an API key")
        await page.get_by_label("API key").fill("s3cret-word")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("API key")).to_be_hidden()
        await draw(page)
        await expect(page.locator("button.tile")).to_have_count(4)
        await page.reload()
        await expect(page.locator("#model option")).to_have_count(1)
        assert await page.get_by_label("API key").is_hidden()
        assert "s3cret-word" not in await page.evaluate("JSON.stringify({...localStorage})")
        await page.locator("button.tile").first.click()
        await page.get_by_role("button", name="Copy curl line").click()
        text = await page.get_by_label("Copied text").input_value()
        assert "$MINDALLE_API_KEY" in text
        assert "s3cret-word" not in text
