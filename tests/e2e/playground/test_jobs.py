"""A job as the page shows it while it is sent, drawn, cancelled, cut off or failed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page, Route, expect

from tests.e2e.playground.conftest import draw
from tests.service.painter import FAILING_PROMPT, Painter

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_partial_pictures_come_before_the_end(page: Page, painter: Painter) -> None:
    painter.gate.clear()
    await draw(page)
    await expect(page.locator("img[data-partial='2']")).to_be_visible()
    await expect(page.locator(".state")).to_contain_text("32 of 64 codes")
    assert await page.locator("button.tile").count() == 0
    painter.gate.set()
    await expect(page.locator("button.tile")).to_have_count(4)
    await expect(page.locator("#live")).to_contain_text("4 pictures")


async def test_a_job_under_way_is_picked_up_after_a_reload(page: Page, painter: Painter) -> None:
    painter.gate.clear()
    await draw(page)
    await expect(page.locator("img[data-partial='2']")).to_be_visible()
    await page.reload()
    await expect(page.locator("img[data-partial='2']")).to_be_visible()
    painter.gate.set()
    await expect(page.locator("button.tile")).to_have_count(4)
    assert len(painter.started) == 1


async def test_a_request_cut_off_by_a_reload_is_sent_once(page: Page, painter: Painter) -> None:
    is_open = asyncio.Event()

    async def hold(route: Route) -> None:
        await is_open.wait()
        with suppress(PlaywrightError):  # the page that sent the first one is gone
            await route.continue_()

    await page.route("**/v1/jobs", hold)
    await draw(page)
    await expect(page.locator(".state")).to_contain_text("Sending")
    await page.reload()
    await expect(page.locator(".state")).to_contain_text("Sending")
    is_open.set()
    await expect(page.locator("button.tile")).to_have_count(4)
    assert len(painter.started) == 1


async def test_cancel_ends_the_job(page: Page, painter: Painter) -> None:
    painter.gate.clear()
    await draw(page)
    await expect(page.locator(".state")).to_contain_text("Drawing")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".problem")).to_contain_text("Cancelled.")
    async with asyncio.timeout(30):
        while not painter.evicted:
            await asyncio.sleep(0.02)


async def test_a_job_waits_out_a_server_that_is_away(page: Page, painter: Painter) -> None:
    painter.gate.clear()
    await draw(page)
    await expect(page.locator(".state")).to_contain_text("Drawing")
    await page.context.set_offline(True)
    await expect(page.locator(".state")).to_contain_text("can't be reached")
    await expect(page.locator("#status")).to_contain_text("can't be reached")
    painter.gate.set()
    await page.context.set_offline(False)
    await expect(page.locator("button.tile")).to_have_count(4)


async def test_what_was_cancelled_while_the_server_was_away_is_not_drawn(
    page: Page, painter: Painter
) -> None:
    painter.gate.clear()
    await draw(page)
    await expect(page.locator(".state")).to_contain_text("Drawing")
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".state")).to_contain_text("can't be reached")
    await page.context.set_offline(False)
    await expect(page.locator(".problem")).to_contain_text("Cancelled.")


async def test_a_failed_job_says_why(page: Page) -> None:
    await draw(page, FAILING_PROMPT)
    await expect(page.locator(".problem")).to_contain_text("The model could not draw this.")


async def test_a_long_prompt_is_said_to_be_cut(page: Page) -> None:
    await draw(page, "a red apple " * 10)
    await expect(page.locator(".meta")).to_contain_text("its end was cut")
