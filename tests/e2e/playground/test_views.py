"""The page with models whose pictures have views: lists, two side by side, a slider over them.

Several codes a position give such views, and so does an enhancement. And what becomes of a run that
began with a picture.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from redis.asyncio import Redis

from tests.e2e.browser import chromium, serious_axe_violations, watched_page
from tests.e2e.stack import Stack, serving
from tests.servers import RedisServer
from tests.service.files import file_of, noise
from tests.service.live_api import api_settings
from tests.service.live_api import serving as serving_api
from tests.service.live_worker import worker_settings, working

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
_SHOWN = """async (img) => {
  await img.decode();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const context = canvas.getContext("2d");
  context.drawImage(img, 0, 0);
  return context.getImageData(0, 0, 32, 32).data.join();
}"""
_SHOWN_FILE = f"""(src) => {{
  const img = new Image();
  img.src = src;
  return ({_SHOWN})(img);
}}"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"MINDALLE_MODEL": "tiny-rq"}
    with serving(tmp_path_factory.mktemp("stack"), durable=True, settings=settings) as running:
        yield running


async def test_coarser_views_stand_beside_the_picture_or_in_its_place(stack: Stack) -> None:
    async with chromium() as browser, watched_page(browser, stack.url) as watched:
        page = watched.page
        await expect(page.locator("#model option")).to_have_count(1)
        await expect(page.locator("#enhance")).to_be_hidden()
        await page.fill("#prompt", "a red apple")
        await page.fill("#top-k", "64, 20, 12")
        await page.click("#draw")
        await expect(page.locator("#feed")).to_contain_text("4 such numbers")
        await page.fill("#top-k", "64, 20, 12, 6")
        await page.click("#draw")
        await page.locator("button.tile").first.click()
        imgs, slider = page.locator("#viewer img"), page.locator("#viewer input[type=range]")
        await expect(page.locator("#viewer dl")).to_contain_text("64,20,12,6")
        assert await serious_axe_violations(page) == []
        beside = {}
        for depth in ("1", "2", "3"):
            await expect(page.locator("#viewer .pair span")).to_have_text(
                [f"depth {depth}", "depth 4"]
            )
            beside[depth] = await imgs.first.evaluate(_SHOWN)
            await slider.press("ArrowRight")
        whole = await imgs.last.evaluate(_SHOWN)
        assert len({*beside.values(), whole}) == 4
        await page.get_by_role("button", name="Side by side").click()
        await expect(imgs).to_have_count(1)
        assert await imgs.evaluate(_SHOWN) == whole
        for depth in ("3", "2", "1"):
            await slider.press("ArrowLeft")
            await expect(imgs).to_have_attribute("data-view", f"depth={depth}")
            await expect(page.locator("#viewer output")).to_have_text(depth)
            assert await imgs.evaluate(_SHOWN) == beside[depth]
        await slider.press("End")
        await expect(imgs).to_have_attribute("data-view", "")
        assert await imgs.evaluate(_SHOWN) == whole
        await page.get_by_label("Next picture").click()
        await expect(imgs).to_have_count(1)  # as it was left


async def test_a_picture_is_enhanced_where_that_is_switched_on(
    valkey_server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    model = "tiny-enhance"
    async with (
        working(worker_settings(valkey_server, model=model), redis),
        serving_api(api_settings(valkey_server, model=model)) as api,
        chromium() as browser,
        watched_page(browser, api.url) as watched,
    ):
        page = watched.page
        await expect(page.locator("#model option")).to_have_count(1)
        await expect(page.get_by_label("Enhance")).to_be_checked()
        await page.fill("#prompt", "a red apple")
        await page.fill("#seed", "5")
        await page.click("#draw")
        await page.locator("button.tile").first.click()
        await expect(page.locator("#viewer dl")).to_contain_text("Enhancedyes")
        await expect(page.locator("#viewer .pair span")).to_have_text(["level top", "level finer"])
        plain, finer = [
            await img.evaluate(_SHOWN) for img in await page.locator("#viewer img").all()
        ]
        assert plain != finer
        assert await serious_axe_violations(page) == []
        link = await _copied(page, "link")
        python = await _copied(page, "Python")
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", python], cwd=tmp_path, check=True, timeout=60
        )
        made = base64.b64encode((tmp_path / "picture.png").read_bytes()).decode()
        assert await page.evaluate(_SHOWN_FILE, f"data:image/png;base64,{made}") == finer
        await page.goto("about:blank")
        await page.goto(link.replace("enhance=true", "enhance=false"))
        await expect(page.locator("#model option")).to_have_count(1)
        await expect(page.get_by_label("Enhance")).not_to_be_checked()
        await page.click("#draw")
        await expect(page.locator(".run")).to_have_count(2)
        await page.locator(".run").first.locator("button.tile").first.click()
        await expect(page.locator("#viewer .pair")).to_have_count(0)
        assert await page.locator("#viewer img").evaluate(_SHOWN) == plain


async def _copied(page: Page, name: str) -> str:
    await page.get_by_role("button", name=f"Copy {name}").click()
    return await page.get_by_label("Copied text").input_value()


async def test_without_its_picture_no_other_one_is_drawn_in_place_of_an_edit(
    stack: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "mine.png"
    path.write_bytes(file_of(noise()))
    async with chromium() as browser, watched_page(browser, stack.url) as watched:
        page = watched.page
        await expect(page.locator("#model option")).to_have_count(1)
        await page.set_input_files("#source-file", path)
        await page.fill("#prompt", "a red apple")
        await page.click("#draw")
        await page.locator("button.tile").first.click()
        await expect(page.locator("#viewer")).to_contain_text("It began with another picture")
        await expect(page.locator("#viewer .recipes")).to_have_count(0)
        await page.get_by_role("button", name="Use these settings").last.click()
        await expect(page.locator("#live")).to_contain_text("drop that, too")
        await page.reload()
        await expect(page.locator("button.tile").first).to_be_visible()
        await page.get_by_role("button", name="Draw another").click()
        problem = page.locator("[data-code='picture_gone']")
        await expect(problem).to_contain_text("The picture that this began with is not kept.")
