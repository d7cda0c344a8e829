"""The page in states that a real worker is rarely in: full, dead, locked, unreachable.

Real Chromium, real server, real queue; the worker is the painter, which waits when it is told to.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from playwright.async_api import Browser, FilePayload, Page, Route, expect
from playwright.async_api import Error as PlaywrightError
from pydantic import SecretStr
from redis.asyncio import Redis

from service.broker.stopping import stop
from service.broker.workers import ModelCard
from service.worker.pictures.png import KEYWORD
from tests.e2e.browser import chromium, serious_axe_violations, watched_page
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.painter import (
    CLASS_CARD,
    FAILING_PROMPT,
    TEXT_CARD,
    UNCOND_CARD,
    Painter,
    painting,
)

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
expect.set_options(timeout=15_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(valkey_server: RedisServer) -> AsyncIterator[LiveApi]:
    async with serving(api_settings(valkey_server)) as live:
        yield live


@pytest_asyncio.fixture(loop_scope="module")
async def emptied(valkey_server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey_server.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def painter(emptied: Redis) -> AsyncIterator[Painter]:
    async with painting(emptied) as at_work:
        yield at_work


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


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, api: LiveApi, painter: Painter) -> AsyncIterator[Page]:
    async with watched_page(browser, api.url) as watched:
        await expect(watched.page.locator("#model option")).to_have_count(1)
        yield watched.page


async def _draw(page: Page, prompt: str = "a red apple") -> None:
    await page.fill("#prompt", prompt)
    await page.click("#draw")


async def test_partial_pictures_come_before_the_end(page: Page, painter: Painter) -> None:
    painter.gate.clear()
    await _draw(page)
    await expect(page.locator("img[data-partial='2']")).to_be_visible()
    await expect(page.locator(".state")).to_contain_text("32 of 64 codes")
    assert await page.locator("button.tile").count() == 0
    painter.gate.set()
    await expect(page.locator("button.tile")).to_have_count(4)
    await expect(page.locator("#live")).to_contain_text("4 pictures")


async def test_a_job_under_way_is_picked_up_after_a_reload(page: Page, painter: Painter) -> None:
    painter.gate.clear()
    await _draw(page)
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
    await _draw(page)
    await expect(page.locator(".state")).to_contain_text("Sending")
    await page.reload()
    await expect(page.locator(".state")).to_contain_text("Sending")
    is_open.set()
    await expect(page.locator("button.tile")).to_have_count(4)
    assert len(painter.started) == 1


async def test_cancel_ends_the_job(page: Page, painter: Painter) -> None:
    painter.gate.clear()
    await _draw(page)
    await expect(page.locator(".state")).to_contain_text("Drawing")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".problem")).to_contain_text("Cancelled.")
    async with asyncio.timeout(30):
        while not painter.evicted:
            await asyncio.sleep(0.02)


async def test_a_job_waits_out_a_server_that_is_away(page: Page, painter: Painter) -> None:
    painter.gate.clear()
    await _draw(page)
    await expect(page.locator(".state")).to_contain_text("Drawing")
    await page.context.set_offline(True)
    await expect(page.locator(".state")).to_contain_text("can't be reached")
    await expect(page.locator("#status")).to_contain_text("can't be reached")
    painter.gate.set()
    await page.context.set_offline(False)
    await expect(page.locator("button.tile")).to_have_count(4)


async def test_a_failed_job_says_why(page: Page) -> None:
    await _draw(page, FAILING_PROMPT)
    await expect(page.locator(".problem")).to_contain_text("The model could not draw this.")


async def test_a_long_prompt_is_said_to_be_cut(page: Page) -> None:
    await _draw(page, "a red apple " * 10)
    await expect(page.locator(".meta")).to_contain_text("its end was cut")


async def test_a_field_out_of_range_is_named(page: Page) -> None:
    await page.fill("#num-candidates", "97")
    await _draw(page)
    assert await page.locator("#num-candidates:invalid").count() == 1
    assert await page.locator(".run").count() == 0


async def test_a_field_that_only_the_server_refuses_is_named(page: Page) -> None:
    await page.evaluate("document.querySelector('#top-k').max = ''")
    await page.fill("#top-k", "65")
    await _draw(page)
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


async def test_history_stays_until_it_is_forgotten(page: Page, emptied: Redis) -> None:
    await _draw(page)
    await expect(page.locator("button.tile img").first).to_be_visible()
    await page.reload()
    await expect(page.locator("button.tile")).to_have_count(4)
    await page.get_by_role("button", name="Forget", exact=True).click()
    await expect(page.locator("#empty")).to_be_visible()
    await page.reload()
    await expect(page.locator("#empty")).to_be_visible()


_NUM_KEPT = """async () => {
  // Opening a database that is not there would make one, without the page's store in it.
  const all = await indexedDB.databases();
  if (!all.some(({name, version}) => name === "mindalle" && version === 1)) return 0;
  const promised = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await promised(indexedDB.open("mindalle"));
  const count = await promised(database.transaction("files").objectStore("files").count());
  database.close();
  return count;
}"""


async def _until_kept(page: Page, count: int) -> None:
    """Until so many picture files are in the page's own store."""
    async with asyncio.timeout(20):
        while await page.evaluate(_NUM_KEPT) != count:
            await asyncio.sleep(0.05)


async def test_pictures_outlive_the_servers_copy(page: Page, emptied: Redis) -> None:
    await _draw(page)
    await expect(page.locator("button.tile")).to_have_count(4)
    await _until_kept(page, 4)
    await emptied.flushall()
    await page.evaluate(
        """() => {
          const runs = JSON.parse(localStorage.getItem("mindalle.runs"));
          runs[0].cells[0].job.expires_at = 1;
          localStorage.setItem("mindalle.runs", JSON.stringify(runs));
        }"""
    )
    await page.reload()
    await expect(page.locator("button.tile img[src^=blob]")).to_have_count(4)


async def test_the_dialog_is_left_by_keyboard_to_where_it_was_opened(page: Page) -> None:
    await _draw(page)
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


async def test_a_full_queue_says_when_to_come_back(
    browser: Browser, emptied: Redis, valkey_server: RedisServer
) -> None:
    async with (
        _idle_worker(emptied),
        serving(api_settings(valkey_server, queue={"max_depth": 1})) as api,
        watched_page(browser, api.url) as watched,
    ):
        page = watched.page
        await _draw(page)
        await expect(page.locator(".state")).to_contain_text("Next in line")
        await _draw(page)
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("The queue is full.")
        await expect(problem).to_contain_text("room again in about 10 s")
        await expect(problem.get_by_role("button")).to_contain_text("Try again in")
        await expect(problem.get_by_role("button")).to_be_disabled()
        assert await serious_axe_violations(page) == []


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
            await _draw(page)
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
        await page.get_by_label("API key").fill("s3cret-word")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("API key")).to_be_hidden()
        await _draw(page)
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    browser: Browser, api: LiveApi, painter: Painter, scheme: str
) -> None:
    async with watched_page(browser, api.url, color_scheme=scheme) as watched:
        page = watched.page
        await expect(page.locator("#model option")).to_have_count(1)
        assert await serious_axe_violations(page) == []
        await _draw(page)
        await expect(page.locator("button.tile")).to_have_count(4)
        painter.gate.clear()
        await _draw(page, "a blue bird")
        await expect(page.locator("img[data-partial='2']")).to_be_visible()
        assert await serious_axe_violations(page) == []
        painter.gate.set()


async def test_the_theme_is_kept(page: Page) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(paper)
    await page.get_by_role("button", name="Dark").click()
    dark = await page.evaluate(paper)
    assert dark != light
    await page.reload()
    assert await page.evaluate(paper) == dark
    await expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
