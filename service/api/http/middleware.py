"""What every request passes through, as pure ASGI: id, headers, log and metrics, body limit.

Nothing here wraps `receive` for longer than the body takes, so a client that hangs up is noticed
behind the whole stack. Knows no routes and no jobs.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import cache

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.http.asgi import add_missing, header, http_only, with_start
from service.api.http.forms import as_json, is_form
from service.api.http.hangup import ClientGoneError
from service.api.http.room import Room
from service.errors import BodyTooLarge, BodyTooSlow, UnsupportedMediaType
from service.logs import bound
from service.metrics import ApiMetrics

BODY_TIMEOUT_S = 10.0
_UPLOAD_TIMEOUT_S = 60.0
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace_id>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
QUIET_PATHS = frozenset({"/livez", "/readyz", "/metrics"})  # asked every few seconds by machines
_DOCS_PATH = "/docs"

access_log = logging.getLogger("service.access")


class RequestId:
    """Gives each request an id, the client's own if it is sane, and says it in the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    @http_only
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the id into `scope["state"]`, the log lines and the answer's headers."""
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        with bound(request_id=request_id, trace_id=_trace_id(scope)):
            named = [(b"x-request-id", request_id.encode())]
            await self.app(scope, receive, with_start(send, lambda it: add_missing(it, named)))


def _request_id(scope: Scope) -> str:
    given = header(scope, b"x-request-id")
    return given if _SANE_REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(16)}"


def _trace_id(scope: Scope) -> str | None:
    """The caller's, from W3C trace context; None when it sent none that is well formed."""
    found = TRACEPARENT.fullmatch(header(scope, b"traceparent"))
    return found["trace_id"] if found else None


class SecurityHeaders:
    """Tells browsers to guess no types, to frame nothing and to load only what is ours."""

    _COMMON = (
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
    )
    _POLICY = (
        b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
        b"object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    # The documentation page is FastAPI's own: it has inline script and loads Swagger from its CDN.
    _DOCS_POLICY = (
        b"default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
        b"style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
        b"img-src 'self' data: https://fastapi.tiangolo.com; frame-ancestors 'none'"
    )

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    @http_only
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to whatever is answered."""
        policy = self._DOCS_POLICY if scope["path"] == _DOCS_PATH else self._POLICY
        headers = [*self._COMMON, (b"content-security-policy", policy)]
        await self.app(scope, receive, with_start(send, lambda it: add_missing(it, headers)))


class CloseWhileDraining:
    """Sends callers to another process: no connection outlives its answer once this one drains.

    Else a retry would come over the kept connection and meet the same refusal.
    """

    def __init__(self, app: ASGIApp, is_draining: Callable[[], bool]) -> None:
        self.app = app
        self.is_draining = is_draining

    @http_only
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add `connection: close` to what is answered from now on."""

        def close(message: Message) -> None:
            if self.is_draining():
                MutableHeaders(scope=message)["connection"] = "close"

        await self.app(scope, receive, with_start(send, close))


class Observe:
    """One log line and one count for each request, with the route's template, never the path."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self.app = app
        self.metrics = metrics
        # There are as many as there are labels; to look one up costs ten times as much as to count.
        self._count_of = cache(metrics.requests.labels)
        self._seconds_of = cache(metrics.request_seconds.labels)

    @http_only
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measure from the first byte of the request to the last of the answer."""
        status = 500

        def note(message: Message) -> None:
            nonlocal status
            status = message["status"]

        start = time.monotonic()
        with self.metrics.requests_running.track_inprogress():
            try:
                await self.app(scope, receive, with_start(send, note))
            finally:
                self._record(scope, status, time.monotonic() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = _known_method(scope["method"]), _route(scope)
        self._count_of(method, route, str(status)).inc()
        self._seconds_of(method, route).observe(seconds)
        level = logging.DEBUG if route in QUIET_PATHS else logging.INFO
        if access_log.isEnabledFor(level):
            told = {
                "method": method,
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
            }
            access_log.log(level, "request", extra=told)


def _known_method(method: str) -> str:
    """Callers may invent methods; a label may not have as many values as they can think of."""
    return method if method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} else "OTHER"


def _route(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path_format", None)
    return path if isinstance(path, str) else "unmatched"


@dataclass(frozen=True, slots=True)
class Uploads:
    """Where bodies may hold pictures, and so be larger than others may at least, and forms.

    `texts`: fields of theirs that are text; `files`: those that may be files. `room`: for what of
    them is beyond the length of other bodies.
    """

    paths: Set[str]
    max_bytes: int
    room: Room
    texts: Set[str] = frozenset()
    files: Set[str] = frozenset()


class BodyLimit:
    """Takes in the whole body, if it is JSON, small enough and quick enough, before the routes run.

    Where a method has no use for a body, it may be of any type. Where pictures are taken, a form
    becomes the JSON that says the same, and UploadsFull is raised when too many are kept already.
    Later calls of `receive` reach the server itself, so that a hang-up gets through.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        timeout_s: float = BODY_TIMEOUT_S,
        uploads: Uploads | None = None,
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s
        self.uploads = uploads

    @http_only
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise BodyTooLarge, BodyTooSlow or UnsupportedMediaType, or pass the body on."""
        if not _has_body(scope):
            await self.app(scope, receive, send)
            return
        headers, uploads = Headers(scope=scope), self._uploads_at(scope)
        if uploads is None:
            body = await self._read(headers, receive, self.max_bytes, self.timeout_s)
            await self._pass_on(body, scope, receive, send)
            return
        with uploads.room.part() as take:
            timeout_s = max(self.timeout_s, _UPLOAD_TIMEOUT_S)
            body = await self._read(headers, receive, uploads.max_bytes, timeout_s, take)
            if body and is_form(headers.get("content-type", "")):
                body = await self._as_json(headers, body, uploads)
                MutableHeaders(scope=scope)["content-type"] = "application/json"
            await self._pass_on(body, scope, receive, send)

    def _uploads_at(self, scope: Scope) -> Uploads | None:
        """What is taken there besides JSON of the usual length."""
        return self.uploads if self.uploads and scope["path"] in self.uploads.paths else None

    async def _pass_on(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        if body and scope["method"] == "POST":
            _check_json(Headers(scope=scope), takes_forms=self._uploads_at(scope) is not None)
        is_read = False

        async def replay() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    async def _as_json(self, headers: Headers, body: bytes, uploads: Uploads) -> bytes:
        kind, texts, files = headers["content-type"], uploads.texts, uploads.files
        # On a thread: the pictures in it may be megabytes.
        return await asyncio.to_thread(as_json, kind, body, texts, files, self.max_bytes)

    async def _read(
        self,
        headers: Headers,
        receive: Receive,
        most: int,
        timeout_s: float,
        take: Callable[[int], None] | None = None,
    ) -> bytes:
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > most:
            raise BodyTooLarge(most)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._collect(receive, most, take)
        except TimeoutError:
            raise BodyTooSlow from None

    async def _collect(
        self, receive: Receive, most: int, take: Callable[[int], None] | None
    ) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            if len(body) > most:
                raise BodyTooLarge(most)
            if take and len(body) > self.max_bytes:
                take(len(message.get("body", b"")))
            if not message.get("more_body", False):
                return bytes(body)


def _has_body(scope: Scope) -> bool:
    return bool(header(scope, b"transfer-encoding")) or header(scope, b"content-length") not in (
        "",
        "0",
    )


def _check_json(headers: Headers, *, takes_forms: bool) -> None:
    """UnsupportedMediaType with what is to be sent, where a body is not plain JSON."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        other = " or multipart/form-data" if takes_forms else ""
        raise UnsupportedMediaType(f"Send the body as application/json{other}.")
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("Send the body without Content-Encoding, as it is.")
