"""A server of files over real HTTP that breaks off, lies and forgets as a test tells it to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


@dataclass
class Shelf:
    """The files by path, and how the server behaves; `asked` is what it was asked for."""

    files: dict[str, bytes]
    etag: str | None = '"one"'
    has_ranges: bool = True
    breaks_after: list[int] = field(default_factory=list)  # bytes of each answer, while it lasts
    statuses: list[int] = field(default_factory=list)  # answered before anything else
    claimed: int | None = None  # a Content-Length, in place of the right one; -1 for none at all
    shift: int = 0  # how far the ranges that come lie beside those that are asked for
    hold: Event | None = None  # a connection that is to break off stays open and silent till then
    headers: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)  # a path to another address
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def do_GET(self) -> None:
        shelf, wanted = self.shelf, self.headers.get("range")
        shelf.asked.append((self.path, wanted, self.headers.get("if-range")))
        if shelf.statuses:
            self._head(shelf.statuses.pop(0), {"content-length": "0", "retry-after": "7"})
            return
        if self.path in shelf.moved:
            self._head(302, {"location": shelf.moved[self.path], "content-length": "0"})
            return
        if self.path not in shelf.files:
            self._head(404, {"content-length": "0"})
            return
        content, start = shelf.files[self.path], self._start(wanted)
        if start is not None and start >= len(content):
            self._head(416, {"content-range": f"bytes */{len(content)}", "content-length": "0"})
            return
        body = content[start or 0 :]
        length = len(body) if shelf.claimed is None else shelf.claimed
        headers = {} if length < 0 else {"content-length": str(length)}
        if start is not None:
            at = start + shelf.shift
            headers["content-range"] = f"bytes {at}-{len(content) - 1}/{len(content)}"
        self._head(200 if start is None else 206, headers)
        if not shelf.breaks_after:
            self.wfile.write(body)
            return
        self.wfile.write(body[: shelf.breaks_after.pop(0)])
        if shelf.hold:
            shelf.hold.wait(20)

    def _start(self, wanted: str | None) -> int | None:
        """The first byte of a partial answer; None for the whole."""
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        condition = self.headers.get("if-range")
        is_same = condition is None or condition == self.shelf.etag
        return int(found[1]) if found and self.shelf.has_ranges and is_same else None

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        etag = {"etag": self.shelf.etag} if self.shelf.etag else {}
        for name, value in (etag | headers | self.shelf.headers).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving(shelf: Shelf) -> Iterator[Shelf]:
    """The server, at the address that the shelf then has."""
    handler = type("Handler", (_Handler,), {"shelf": shelf})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        shelf.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield shelf
        finally:
            server.shutdown()
            thread.join()
