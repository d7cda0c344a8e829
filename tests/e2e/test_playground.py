"""The page against the whole service with `tiny`, each part a process of its own, slowed down so
that there is something to see between the first step and the last.
"""

from __future__ import annotations

import base64
import io
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image as Pillow
from playwright.async_api import Browser, Page, Response, expect

from tests.e2e.browser import chromium, serious_axe_violations, watched_page
from tests.e2e.stack import Stack
from tests.service.files import file_of, noise, pixels_of

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
expect.set_options(timeout=20_000)
MAX_PAGE_BYTES = 60_000
# Whichever it is: `expect` looks once a second, and each is there for less.
_UNFINISHED = "img[data-partial]"
_NOTE_GROWTH = """() => {
  globalThis.grown = [];
  const note = (what) => grown.includes(what) || grown.push(what);
  new MutationObserver((records) => {
    for (const node of records.flatMap(({addedNodes}) => [...addedNodes])) {
      if (node.dataset?.partial) note(node.dataset.partial);
      if (node.querySelector?.("button.tile")) note("tiles");
    }
  }).observe(document.body, {childList: true, subtree: true});
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, slow_stack: Stack) -> AsyncIterator[Page]:
    async with watched_page(browser, slow_stack.url) as watched:
        await expect(watched.page.locator("#model option")).to_have_count(1)
        yield watched.page


async def _draw(page: Page, prompt: str = "a red apple") -> None:
    await page.fill("#prompt", prompt)
    await page.click("#draw")


async def _drawn(page: Page) -> None:
    await _draw(page)
    await expect(page.locator("button.tile")).to_have_count(4)


async def test_a_prompt_gives_pictures_that_grow(page: Page) -> None:
    await page.evaluate(_NOTE_GROWTH)
    await _draw(page)
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    await expect(page.locator("button.tile")).to_have_count(4)
    assert await page.evaluate("globalThis.grown") == ["0", "1", "2", "tiles"]
    widths = await page.locator("button.tile img").evaluate_all(
        "(all) => Promise.all(all.map((img) => img.decode().then(() => img.naturalWidth)))"
    )
    assert widths == [32] * 4


async def test_cancel_frees_the_rows(page: Page, slow_stack: Stack) -> None:
    def busy() -> float:
        return slow_stack.workers[0].metric('mindalle_rows_busy{model="tiny"}')

    await page.fill("#num-candidates", "64")  # twice as many as there are rows: time to look
    await _draw(page)
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    assert busy() == 32
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".problem")).to_contain_text("Cancelled.")
    slow_stack.until(lambda: busy() == 0)


async def test_a_job_under_way_is_picked_up_after_a_reload(page: Page, slow_stack: Stack) -> None:
    before = slow_stack.metric('mindalle_jobs_admitted_total{model="tiny"}')
    await page.fill("#num-candidates", "64")  # twice as many as there are rows
    await _draw(page)
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    await page.reload()
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    await expect(page.locator("button.tile")).to_have_count(10)
    assert slow_stack.metric('mindalle_jobs_admitted_total{model="tiny"}') == before + 1


async def test_a_comparison_shows_one_picture_per_pair_of_settings(page: Page) -> None:
    await page.get_by_label("comparison", exact=True).check()
    await page.get_by_label("Temperatures").fill("0.01, 1")
    await page.get_by_label("Top-k, one").fill("1, 8, 64")
    await _draw(page)
    await expect(page.locator(".grid button.tile")).to_have_count(6)
    await expect(page.locator(".grid th[scope=row]")).to_have_text(["0.01", "1"])
    await expect(page.locator(".grid thead th")).to_have_text(
        ["Temperature", "top-k 1", "top-k 8", "top-k 64"]
    )
    # One code to choose from leaves nothing to the temperature; 64 hot ones leave much to chance.
    pictures = [await _pixels(page, index) for index in range(6)]
    assert pictures[0] == pictures[3]
    assert pictures[3] != pictures[5]
    assert await serious_axe_violations(page) == []


async def _pixels(page: Page, index: int) -> str:
    pixels: str = (
        await page.locator("button.tile img")
        .nth(index)
        .evaluate(
            """async (img) => {
          await img.decode();
          const canvas = document.createElement("canvas");
          canvas.width = canvas.height = 32;
          canvas.getContext("2d").drawImage(img, 0, 0);
          return canvas.toDataURL();
        }"""
        )
    )
    return pixels


async def _open_and_download(page: Page, number: int, folder: Path) -> Path:
    await page.locator("button.tile").nth(number).click()
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    path = folder / (await download.value).suggested_filename
    await (await download.value).save_as(path)
    return path


async def test_a_downloaded_picture_dropped_on_the_page_fills_the_form(
    page: Page, tmp_path: Path
) -> None:
    await page.fill("#temperature", "0.7")
    await page.fill("#top-p", "0.9")
    await page.fill("#seed", "123456789")
    await _drawn(page)
    path = await _open_and_download(page, 1, tmp_path)
    assert path.name.startswith("a-red-apple-123456789-")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Forget all").click()
    await page.fill("#prompt", "")
    await page.get_by_role("button", name="Back to").click()
    await page.evaluate(
        """(content) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "picture.png", {type: "image/png"}));
          document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
        }""",
        base64.b64encode(path.read_bytes()).decode(),
    )
    values = {"#prompt": "a red apple", "#temperature": "0.7", "#top-k": "32", "#top-p": "0.9"}
    for field, value in (values | {"#seed": "123456789", "#num-candidates": "4"}).items():
        await expect(page.locator(field)).to_have_value(value)
    await expect(page.locator("#lock")).to_have_attribute("aria-pressed", "true")


async def test_a_file_without_settings_is_told_apart(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "other.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    await page.set_input_files("#file", path)
    await expect(page.locator("#notices")).to_contain_text("This file holds no settings.")


async def test_a_file_that_is_no_picture_is_told_until_one_is(page: Page, tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken.png", tmp_path / "whole.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    whole.write_bytes(file_of(noise()))
    await page.set_input_files("#source-file", broken)
    await expect(page.locator("#notices")).to_contain_text("This file is no picture")
    await page.set_input_files("#source-file", whole)
    await expect(page.locator("#source-edit")).to_be_visible()
    await expect(page.locator("#notices")).to_be_empty()


async def test_a_picture_is_painted_over_and_drawn_anew(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    path.write_bytes(file_of(noise((64, 32))))
    await page.set_input_files("#source-file", path)
    await expect(page.locator("#keep-told")).to_have_text("the upper 50 %")
    async with page.expect_request("**/v1/jobs") as sending:
        await _draw(page)
    sent: Any = (await sending.value).post_data_json
    assert (sent["keep"], "mask" in sent) == (0.5, False)
    await expect(page.locator("button.tile")).to_have_count(4)
    box = await page.locator("#source-paint").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await page.mouse.up()
    await expect(page.locator("#keep")).to_be_disabled()
    async with page.expect_request("**/v1/jobs") as sending:
        await _draw(page, "a blue bird")
    sent = (await sending.value).post_data_json
    picture, mask = (base64.b64decode(sent[name].partition(",")[2]) for name in ("image", "mask"))
    assert "keep" not in sent
    assert np.array_equal(pixels_of(picture), noise((64, 32))[:, 16:48])  # cut to cover 32x32
    with Pillow.open(io.BytesIO(mask)) as image:
        clear = np.asarray(image)[..., 3] == 0
    assert clear[12, 12]
    assert not clear[24:].any()
    await expect(page.locator("button.tile")).to_have_count(8)
    assert await serious_axe_violations(page) == []
    await page.get_by_role("button", name="Without a picture").click()
    await expect(page.locator("#source-edit")).to_be_hidden()


async def test_link_curl_and_python_make_the_same_picture(page: Page, tmp_path: Path) -> None:
    prompt = "it's \"red\", isn't it?"
    await page.fill("#seed", "5")
    await _draw(page, prompt)
    await expect(page.locator("button.tile")).to_have_count(4)
    made = tmp_path / "picture.png"
    best = (await _open_and_download(page, 0, tmp_path)).read_bytes()
    _run(["sh", "-c", await _recipe(page, "curl line")], tmp_path)
    assert made.read_bytes() == best
    await page.keyboard.press("Escape")
    third = (await _open_and_download(page, 2, tmp_path)).read_bytes()
    _run([sys.executable, "-c", await _recipe(page, "Python")], tmp_path)
    assert made.read_bytes() == third
    link = await _recipe(page, "link")
    await page.goto("about:blank")
    await page.goto(link)
    await expect(page.locator("#prompt")).to_have_value(prompt)
    await expect(page.locator("#seed")).to_have_value("5")


async def _recipe(page: Page, name: str) -> str:
    await page.get_by_role("button", name=f"Copy {name}").click()
    return await page.get_by_label("Copied text").input_value()


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=30)


async def test_a_phones_width_needs_no_sideways_scrolling(
    browser: Browser, slow_stack: Stack
) -> None:
    async with watched_page(
        browser,
        slow_stack.url,
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
    ) as watched:
        page = watched.page
        await expect(page.locator("#settings")).not_to_have_attribute("open", "")
        await _draw(page, "a" * 300)
        await expect(page.locator(_UNFINISHED)).to_be_visible()
        assert await _overflow(page) <= 0
        await expect(page.locator("button.tile")).to_have_count(4)
        assert await _overflow(page) <= 0
        await page.locator("button.tile").first.click()
        assert await _overflow(page) <= 0
        await page.get_by_role("button", name="Close").click()
        await page.get_by_text("Settings").first.click()
        await page.get_by_label("comparison", exact=True).check()
        await page.get_by_label("Top-k, one").fill("1, 2, 4, 8, 16, 32")
        await page.get_by_label("Temperatures").fill("1")
        await _draw(page)
        await expect(page.locator(".grid button.tile")).to_have_count(6)
        assert await _overflow(page) <= 0
        assert await serious_axe_violations(page) == []


async def _overflow(page: Page) -> int:
    pixels: int = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return pixels


async def test_the_page_is_light_on_the_wire(browser: Browser, slow_stack: Stack) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    sizes: dict[str, int] = {}

    async def note(response: Response) -> None:
        if "/v1/" not in response.url:
            used = await response.request.sizes()
            sizes[response.url] = used["responseBodySize"] + used["responseHeadersSize"]

    page.on("response", note)
    await page.goto(slow_stack.url, wait_until="networkidle")
    await expect(page.locator("#model option")).to_have_count(1)
    await context.close()
    assert len(sizes) > 10
    assert sum(sizes.values()) < MAX_PAGE_BYTES


async def test_a_worker_that_dies_is_told_of(page: Page, slow_stack: Stack) -> None:
    (worker,) = slow_stack.workers
    await _draw(page)
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    worker.end(signal.SIGKILL)
    await expect(page.locator(".state")).to_contain_text("No worker is alive just now")
    await expect(page.locator("#status")).to_contain_text("no worker")
    await page.get_by_role("button", name="Cancel").click()
    await _draw(page, "a blue bird")
    problem = page.locator(".run").first.locator(".problem")
    await expect(problem).to_contain_text("Nobody is here to draw.")
    worker.start("worker")
    slow_stack.until(lambda: slow_stack.num_serving() == 1)
    await problem.get_by_role("button", name="Try again").click()
    await expect(page.locator("button.tile")).to_have_count(4)
