"""The page against the whole service with `tiny`, each part a process of its own, slowed down so
that there is something to see between the first step and the last.
"""

from __future__ import annotations

import signal

import pytest
from playwright.async_api import Browser, Page, Response, expect

from tests.e2e.browser import serious_axe_violations, watched_page
from tests.e2e.playground.conftest import draw
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]
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


@pytest.fixture
def address(slow_stack: Stack) -> str:
    return slow_stack.url


async def test_a_prompt_gives_pictures_that_grow(page: Page) -> None:
    await page.evaluate(_NOTE_GROWTH)
    await draw(page)
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
    await draw(page)
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    assert busy() == 32
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".problem")).to_contain_text("Cancelled.")
    slow_stack.until(lambda: busy() == 0)


async def test_a_job_under_way_is_picked_up_after_a_reload(page: Page, slow_stack: Stack) -> None:
    before = slow_stack.metric('mindalle_jobs_admitted_total{model="tiny"}')
    await page.fill("#num-candidates", "64")  # twice as many as there are rows
    await draw(page)
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    await page.reload()
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    await expect(page.locator("button.tile")).to_have_count(10)
    assert slow_stack.metric('mindalle_jobs_admitted_total{model="tiny"}') == before + 1


async def test_a_comparison_shows_one_picture_per_pair_of_settings(page: Page) -> None:
    await page.get_by_label("comparison", exact=True).check()
    await page.get_by_label("Temperatures").fill("0.01, 1")
    await page.get_by_label("Top-k, one").fill("1, 8, 64")
    await draw(page)
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
        await draw(page, "a" * 300)
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
        await draw(page)
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
    await draw(page)
    await expect(page.locator(_UNFINISHED)).to_be_visible()
    worker.end(signal.SIGKILL)
    await expect(page.locator(".state")).to_contain_text("No worker is alive just now")
    await expect(page.locator("#status")).to_contain_text("no worker")
    await page.get_by_role("button", name="Cancel").click()
    await draw(page, "a blue bird")
    problem = page.locator(".run").first.locator(".problem")
    await expect(problem).to_contain_text("Nobody is here to draw.")
    worker.start("worker")
    slow_stack.until(lambda: slow_stack.num_serving() == 1)
    await problem.get_by_role("button", name="Try again").click()
    await expect(page.locator("button.tile")).to_have_count(4)
