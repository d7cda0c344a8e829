"""Debian's Chromium by playwright: one browser, and pages that report what they must not do.

Knows no server: a page is given the address to open.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, Request, async_playwright

CHROMIUM = "/usr/bin/chromium"
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_WATCH_POLICY = """
  globalThis.violations = [];
  addEventListener("securitypolicyviolation",
    (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
PATIENCE_MS = 20_000


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser, with a user-data directory of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        await browser.close()


@dataclass(slots=True)
class Watched:
    """A page and all that it did which a playground must not do."""

    page: Page
    host: str
    faults: list[str] = field(default_factory=list)
    transferred: int = 0

    def listen(self) -> None:
        """From now on, note requests to other hosts and errors in scripts."""
        self.page.on("request", lambda request: self._note(request))  # noqa: PLW0108 - playwright sets an attribute on a method's owner, which slots forbid
        self.page.on("pageerror", lambda error: self.faults.append(f"script error: {error}"))

    def _note(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != self.host:
            self.faults.append(f"a request to {request.url}")

    async def violations(self) -> list[str]:
        """What the Content-Security-Policy stopped since the page was loaded."""
        found: list[str] = await self.page.evaluate("globalThis.violations")
        return found


@asynccontextmanager
async def watched_page(browser: Browser, url: str, **options: Any) -> AsyncIterator[Watched]:
    """The page at `url` in a fresh profile; its faults fail the test at the end."""
    context = await browser.new_context(**({"viewport": {"width": 1280, "height": 860}} | options))
    context.set_default_timeout(PATIENCE_MS)
    await context.add_init_script(_WATCH_POLICY)
    page = await context.new_page()
    watched = Watched(page, urlsplit(url).netloc)
    watched.listen()
    await page.goto(url)
    await page.wait_for_selector("#status[data-state]")
    yield watched
    watched.faults += [f"policy: {found}" for found in await watched.violations()]
    await context.close()
    assert watched.faults == []


async def serious_axe_violations(page: Page) -> list[str]:
    """What axe-core finds in the page as it is, of the impacts serious and critical."""
    script = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    await page.evaluate(f"() => {{ {script} }}")
    found: str = await page.evaluate(
        "axe.run(document, {resultTypes: ['violations']})"
        ".then(({violations}) => JSON.stringify(violations))"
    )
    return [
        f"{violation['id']}: {node['html']}"
        for violation in json.loads(found)
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
