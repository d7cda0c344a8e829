"""The page by keyboard, and as axe-core sees it in both themes."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.browser import serious_axe_violations, watched_page
from tests.e2e.playground.conftest import draw
from tests.service.live_api import LiveApi
from tests.service.painter import Painter

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_the_dialog_is_left_by_keyboard_to_where_it_was_opened(page: Page) -> None:
    await draw(page)
    tile = page.locator("button.tile").nth(1)
    await tile.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("dialog")).to_contain_text("2 of 4")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("dialog")).to_contain_text("3 of 4")
    assert await serious_axe_violations(page) == []
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog")).to_be_hidden()
    await expect(tile).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    browser: Browser, api: LiveApi, painter: Painter, scheme: str
) -> None:
    async with watched_page(browser, api.url, color_scheme=scheme) as watched:
        page = watched.page
        await expect(page.locator("#model option")).to_have_count(1)
        assert await serious_axe_violations(page) == []
        await draw(page)
        await expect(page.locator("button.tile")).to_have_count(4)
        painter.gate.clear()
        await draw(page, "a blue bird")
        await expect(page.locator("img[data-partial='2']")).to_be_visible()
        assert await serious_axe_violations(page) == []
        painter.gate.set()
