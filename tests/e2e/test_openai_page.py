"""OpenAI's own JavaScript client, unmodified, in a page of another origin, in a real browser."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page
from redis.asyncio import Redis

from tests.e2e.browser import chromium
from tests.e2e.npm import bundled
from tests.e2e.stack import Stack, serving
from tests.servers import RedisServer
from tests.service.live_api import api_settings
from tests.service.live_api import serving as serving_api
from tests.service.painter import painting

# The time limit is for the first run, which fetches the packages.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]
_SOURCE = Path(__file__).with_name("openai_page")


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _site(folder: Path) -> Iterator[str]:
    """Serves the folder on a free port; gives the origin of its pages."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def origin(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A site of its own with the page, as a front end would have it."""
    folder = tmp_path_factory.mktemp("site")
    assert request.config.cache is not None
    (folder / "page.js").write_bytes(bundled(_SOURCE, request.config.cache))
    (folder / "index.html").write_text('<!doctype html><script src="page.js"></script>')
    with _site(folder) as address:
        yield address


@pytest.fixture(scope="module")
def server(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service, which lets the pages of that site in."""
    settings = {"MINDALLE_API__CORS_ORIGINS": origin}
    with serving(tmp_path_factory.mktemp("stack"), settings=settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, origin: str) -> AsyncIterator[Page]:
    context = await browser.new_context()
    opened = await context.new_page()
    await opened.goto(origin)
    yield opened
    await context.close()


async def _do(page: Page, deed: str, server: str) -> Any:
    return await page.evaluate("([deed, server]) => deeds[deed](server)", [deed, server])


async def test_a_page_draws(page: Page, server: Stack) -> None:
    drawn = await _do(page, "generate", server.url)
    assert drawn["widths"] == [32, 32]
    assert drawn["requestId"].startswith("req_")
    assert drawn["jobId"].startswith("job_")
    assert int(drawn["remaining"]) > 0


async def test_a_page_sees_a_picture_grow(page: Page, server: Stack) -> None:
    seen = await _do(page, "stream", server.url)
    partial = ["image_generation.partial_image", 32]
    assert seen == [partial, partial, ["image_generation.completed", 32]]


async def test_a_page_is_told_what_is_wrong(page: Page, server: Stack) -> None:
    refused = await _do(page, "refused", server.url)
    request_id = refused.pop("requestID")
    assert refused == {"status": 400, "code": "invalid_value", "param": "n"}
    assert request_id.startswith("req_")


async def test_a_page_queues_a_job_and_follows_it(page: Page, server: Stack) -> None:
    followed = await _do(page, "jobs", server.url)
    assert followed["location"].endswith(f"/v1/jobs/{followed['id']}")
    assert (followed["last"], followed["status"]) == ("succeeded", "succeeded")


async def test_a_page_of_no_listed_origin_is_kept_out(browser: Browser, server: Stack) -> None:
    stranger = server.url.replace("127.0.0.1", "localhost")  # another origin than the listed one
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{stranger}/v1/models")
    status = await page.evaluate(
        "(url) => fetch(url).then(() => 'read', (error) => error.name)", f"{server.url}/v1/models"
    )
    assert status == "TypeError"
    await context.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_comes_back_when_it_is_told_to(
    page: Page, origin: str, valkey_server: RedisServer
) -> None:
    """The second image is allowed after five seconds; the script reads that in the answer."""
    redis = Redis.from_url(valkey_server.url)
    await redis.flushall()
    settings = api_settings(
        valkey_server,
        api={"cors_origins": origin},
        queue={"key_rate_per_s": 0.2, "key_burst": 1},
    )
    async with painting(redis), serving_api(settings) as api:
        first = await _do(page, "patient", api.url)
        assert first["statuses"] == [[200, False]]
        second = await _do(page, "patient", api.url)
        *refused, served = second["statuses"]
        assert served == [200, False]
        assert refused
        assert all(status == [429, True] for status in refused)
        assert second["url"].startswith(f"{api.url}/v1/jobs/")
    await redis.aclose()
