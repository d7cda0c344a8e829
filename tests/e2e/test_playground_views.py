"""The page with a model that draws several codes a position: lists, a slider over its views.

And what becomes of a run that began with a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.browser import chromium, serious_axe_violations, watched_page
from tests.e2e.stack import Stack, serving
from tests.service.files import file_of, noise

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
_SHOWN = """async (img) => {
  await img.decode();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const context = canvas.getContext("2d");
  context.drawImage(img, 0, 0);
  return context.getImageData(0, 0, 32, 32).data.join();
}"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"MINDALLE_MODEL": "tiny-rq"}
    with serving(tmp_path_factory.mktemp("stack"), durable=True, settings=settings) as running:
        yield running


async def test_a_slider_goes_from_the_coarsest_view_to_the_picture(stack: Stack) -> None:
    async with chromium() as browser, watched_page(browser, stack.url) as watched:
        page = watched.page
        await expect(page.locator("#model option")).to_have_count(1)
        await page.fill("#prompt", "a red apple")
        await page.fill("#top-k", "64, 20, 12")
        await page.click("#draw")
        await expect(page.locator("#feed")).to_contain_text("4 such numbers")
        await page.fill("#top-k", "64, 20, 12, 6")
        await page.click("#draw")
        await page.locator("button.tile").first.click()
        img, slider = page.locator("#viewer img"), page.locator("#viewer input[type=range]")
        await expect(page.locator("#viewer dl")).to_contain_text("64,20,12,6")
        assert await serious_axe_violations(page) == []
        shown = [await img.evaluate(_SHOWN)]
        for depth in ("3", "2", "1"):
            await slider.press("ArrowLeft")
            await expect(img).to_have_attribute("data-view", f"depth={depth}")
            await expect(page.locator("#viewer output")).to_have_text(depth)
            shown.append(await img.evaluate(_SHOWN))
        await slider.press("End")
        await expect(img).to_have_attribute("data-view", "")
        assert await img.evaluate(_SHOWN) == shown[0]
        assert len(set(shown)) == 4


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
