"""The playground page: files from this package, served as they are, with a strict policy.

The files are read once, when the routes are made. What the page does is in playground/; it talks to
the same HTTP routes as everyone else and needs nothing from this file but its own bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from fastapi import APIRouter, Request, Response

from service.api.http.accept import takes_gzip
from service.api.http.addressing import address
from service.errors import NotFound

# Everything is refused but what the page uses; nothing inline, nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_INDEX = "index.html"
_LINK = re.compile(rb'(href|src)="(?=[a-z])')


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page, plain and compressed, with the hash that tells versions apart."""

    media_type: str
    plain: bytes
    compressed: bytes
    etag: str

    @classmethod
    def of(cls, suffix: str, content: bytes) -> Self:
        """A file's content as it will be served."""
        compressed = gzip.compress(content, mtime=0)
        etag = hashlib.sha256(content).hexdigest()[:32]
        return cls(_MEDIA_TYPES[suffix], content, compressed, etag)

    def answer(self, request: Request) -> Response:
        """The file, or 304 for a client that has it. Browsers keep it but ask each time."""
        is_gzip = takes_gzip(request.headers.get("accept-encoding", ""))
        etag = f'"{self.etag}-gzip"' if is_gzip else f'"{self.etag}"'
        headers = {
            "etag": etag,
            "cache-control": "no-cache",
            "vary": "accept-encoding",
            "content-security-policy": POLICY,
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
        }
        if _has(request, etag):
            return Response(status_code=304, headers=headers)
        if is_gzip:
            headers["content-encoding"] = "gzip"
        content = self.compressed if is_gzip else self.plain
        return Response(content, media_type=self.media_type, headers=headers)


def _has(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return etag in {name.strip().removeprefix("W/") for name in known.split(",")}


def load_assets() -> Mapping[str, Asset]:
    """Every file of the page by its name."""
    folder = files("service") / "playground"
    return {
        entry.name: Asset.of(suffix, entry.read_bytes())
        for entry in folder.iterdir()
        if (suffix := entry.name.rpartition(".")[2]) in _MEDIA_TYPES
        and not entry.name.startswith(".")  # a Mac's archive brings `._main.js`
    }


def _below(prefix: str, page: Asset) -> Asset:
    """The page with the prefix before its links, which a browser can't know at `/prefix`."""
    if not prefix:
        return page
    content = _LINK.sub(rb'\1="%b/' % prefix.encode(), page.plain)
    return Asset.of("html", content)


def make_router(assets: Mapping[str, Asset]) -> APIRouter:
    """Routes for `/` and `/playground/NAME`. NotFound for names that are no asset."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        return _below(address(request).base.prefix, assets[_INDEX]).answer(request)

    @router.get("/playground/{name}")
    async def asset(name: str, request: Request) -> Response:
        if name not in assets or name == _INDEX:
            raise NotFound
        return assets[name].answer(request)

    return router
