"""What the form asks for, which the model decides, and what it is filled with and refuses."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from playwright.async_api import Browser, FilePayload, Page, expect
from redis.asyncio import Redis

from service.broker.workers import ModelCard
from service.worker.pictures.png import KEYWORD
from tests.e2e.browser import serious_axe_violations, watched_page
from tests.e2e.playground.conftest import draw
from tests.service.live_api import LiveApi
from tests.service.painter import CLASS_CARD, TEXT_CARD, UNCOND_CARD, Painter, painting

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_a_field_out_of_range_is_named(page: Page) -> None:
    await page.fill("#num-candidates", "97")
    await draw(page)
    assert await page.locator("#num-candidates:invalid").count() == 1
    assert await page.locator(".run").count() == 0


async def test_a_field_that_only_the_server_refuses_is_named(page: Page) -> None:
    await page.evaluate("document.querySelector('#top-k').max = ''")
    await page.fill("#top-k", "65")
    await draw(page)
    await expect(page.locator(".problem")).to_contain_text("64 codes to draw from")
    await expect(page.locator("#top-k:invalid")).to_have_count(1)


async def test_a_link_to_a_model_that_is_not_here_is_told_apart(page: Page, api: LiveApi) -> None:
    await page.goto(f"{api.url}/#model=tiny-class&prompt=7&seed=3")
    await expect(page.locator("#notices")).to_contain_text("made by tiny-class")
    await page.reload()
    await expect(page.locator("#notices")).to_contain_text("made by tiny-class")
    await expect(page.locator("#seed")).to_have_value("3")


async def test_settings_are_found_in_every_kind_of_text_chunk(page: Page) -> None:
    for seed, kind in enumerate(("tEXt", "zTXt", "iTXt", "compressed iTXt")):
        text = f'{{"model": "tiny", "prompt": "grün", "has_prompt": true, "seed": {seed}}}'
        info = PngInfo()
        if kind.endswith("iTXt"):
            info.add_itxt(KEYWORD, text, "de", "übersetzt", zip=kind != "iTXt")
        else:
            info.add_text(KEYWORD, text, zip=kind == "zTXt")
        file = io.BytesIO()
        Pillow.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
        await page.set_input_files(
            "#file", FilePayload(name="a.png", mimeType="image/png", buffer=file.getvalue())
        )
        await expect(page.locator("#seed")).to_have_value(str(seed))
        await expect(page.locator("#prompt")).to_have_value("grün")


@asynccontextmanager
async def _page_for(
    browser: Browser, api: LiveApi, redis: Redis, card: ModelCard
) -> AsyncIterator[tuple[Page, Painter]]:
    async with painting(redis, card) as at_work, watched_page(browser, api.url) as watched:
        await expect(watched.page.locator("#model option")).to_have_count(1)
        yield watched.page, at_work


async def test_a_class_model_asks_for_a_class(
    browser: Browser, api: LiveApi, emptied: Redis
) -> None:
    async with _page_for(browser, api, emptied, CLASS_CARD) as (page, at_work):
        await page.get_by_label("Class, 0 to 9").fill("7")
        await page.click("#draw")
        await expect(page.locator("button.tile")).to_have_count(4)
        await expect(page.locator(".run h2")).to_have_text("class 7")
        assert at_work.started[0].recipe.prompt == 7
        assert await serious_axe_violations(page) == []


async def test_an_unconditional_model_asks_for_nothing(
    browser: Browser, api: LiveApi, emptied: Redis
) -> None:
    async with _page_for(browser, api, emptied, UNCOND_CARD) as (page, at_work):
        await expect(page.locator("#no-prompt")).to_be_visible()
        await expect(page.locator("#prompt")).to_be_hidden()
        await page.click("#draw")
        await expect(page.locator("button.tile")).to_have_count(4)
        assert at_work.started[0].recipe.prompt is None
        await expect(page.locator(".score")).to_have_count(0)
        await page.locator("button.tile").first.click()
        await expect(page.locator("#viewer dl")).not_to_contain_text("score")


async def test_a_complaint_ends_with_what_was_complained_of(page: Page) -> None:
    await draw(page, "   ")
    await expect(page.locator("#prompt:invalid")).to_have_count(1)
    await page.locator("#examples button").first.click()
    await page.fill("#top-k", "0")
    await page.evaluate("document.querySelector('#top-k').min = ''")
    await page.click("#draw")
    await expect(page.locator("#top-k:invalid")).to_have_count(1)
    await page.get_by_role("button", name="Back to the model's defaults").click()
    await page.click("#draw")
    await expect(page.locator("button.tile")).to_have_count(4)


async def test_a_comparison_that_is_refused_is_complained_of_where_it_was_typed(page: Page) -> None:
    await page.get_by_label("comparison").check()
    await page.fill("#top-ks", "65")
    await draw(page)
    await expect(page.locator("#top-ks:invalid")).to_have_count(1)
    await page.get_by_label("best candidates").check()
    await page.click("#draw")
    await expect(page.locator("button.tile")).to_have_count(4)


async def test_a_locked_seed_stays_when_another_picture_is_drawn(page: Page) -> None:
    await page.fill("#seed", "7")
    await page.get_by_role("button", name="Keep this seed").click()
    await draw(page)
    await expect(page.locator("button.tile")).to_have_count(4)
    await page.get_by_role("button", name="Draw another").click()
    await expect(page.locator("button.tile")).to_have_count(8)
    await expect(page.locator("#seed")).to_have_value("7")
    await expect(page.locator(".run .meta").first).not_to_contain_text("seed 7 ")


_DRAG_TEXT = """(name) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.setData("text/plain", "a blue bird");
  const event = new DragEvent(name, {dataTransfer, bubbles: true, cancelable: true});
  return document.querySelector("#prompt").dispatchEvent(event);
}"""


@pytest.mark.parametrize("name", ["dragover", "drop"])
async def test_text_may_be_dragged_into_the_prompt(page: Page, name: str) -> None:
    is_left_to_the_browser = await page.evaluate(_DRAG_TEXT, name)
    assert is_left_to_the_browser
    await expect(page.locator("[data-dropping]")).to_have_count(0)


_TWO_LEVELS = replace(TEXT_CARD, depth=2, levels=2)


@pytest.mark.parametrize("text", ["8 4", "8, 4"])
async def test_a_list_may_be_written_with_spaces(
    browser: Browser, api: LiveApi, emptied: Redis, text: str
) -> None:
    async with _page_for(browser, api, emptied, _TWO_LEVELS) as (page, at_work):
        await page.fill("#top-k", text)
        await draw(page)
        await expect(page.locator("button.tile")).to_have_count(4)
        assert at_work.started[0].recipe.top_k == (8, 4)


async def test_what_is_no_number_is_refused_not_left_out(
    browser: Browser, api: LiveApi, emptied: Redis
) -> None:
    async with _page_for(browser, api, emptied, _TWO_LEVELS) as (page, _):
        await page.fill("#temperature", "1.2.3")
        await draw(page)
        await expect(page.locator("#temperature:invalid")).to_have_count(1)
