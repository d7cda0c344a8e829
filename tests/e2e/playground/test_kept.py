"""What the page keeps in the browser: runs, files of pictures, the theme."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, expect
from redis.asyncio import Redis

from tests.e2e.playground.conftest import draw

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_history_stays_until_it_is_forgotten(page: Page, emptied: Redis) -> None:
    await draw(page)
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
    await draw(page)
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
    await page.locator("button.tile").first.click()
    await expect(page.locator("#viewer img[src^=blob]")).to_be_visible()
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    assert (await (await download.value).path()).stat().st_size > 0


async def test_the_theme_is_kept(page: Page) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(paper)
    await page.get_by_role("button", name="Dark").click()
    dark = await page.evaluate(paper)
    assert dark != light
    await page.reload()
    assert await page.evaluate(paper) == dark
    await expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")


async def test_what_another_tab_forgets_does_not_come_back(page: Page) -> None:
    await draw(page)
    await expect(page.locator("button.tile")).to_have_count(4)
    other = await page.context.new_page()
    await other.goto(page.url)
    await expect(other.locator("button.tile")).to_have_count(4)
    await page.get_by_role("button", name="Forget all pictures").click()
    await expect(other.locator("#empty")).to_be_visible()
    await draw(other, "a blue bird")
    await expect(other.locator("button.tile")).to_have_count(4)
    await page.reload()
    await expect(page.locator(".run h2")).to_have_text(["a blue bird"])


async def test_what_another_tab_has_not_seen_when_it_writes_stays(page: Page) -> None:
    """Tabs are processes of their own: each may write before it hears of the other's run."""
    await draw(page)
    await expect(page.locator("button.tile")).to_have_count(4)
    await page.evaluate(
        "void (globalThis.heard = new Promise((done) => addEventListener('storage', done)))"
    )
    other = await page.context.new_page()
    await other.goto(page.url)
    await other.evaluate("localStorage.setItem('mindalle.runs', '[]')")
    await page.evaluate("globalThis.heard.then(() => null)")
    await expect(page.locator("button.tile")).to_have_count(4)


_FORBIDDEN = """for (const name of ["sessionStorage", "localStorage", "indexedDB"]) {
  const get = () => { throw new DOMException("denied", "SecurityError"); };
  Object.defineProperty(globalThis, name, { get });
}"""


async def test_a_browser_that_keeps_nothing_draws_all_the_same(page: Page) -> None:
    """As with every cookie blocked: looking at a storage is an error there."""
    await page.add_init_script(_FORBIDDEN)
    await page.reload()
    await expect(page.locator("#model option")).to_have_count(1)
    await page.get_by_role("button", name="Dark").click()
    await expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    await draw(page)
    await expect(page.locator("button.tile")).to_have_count(4)
