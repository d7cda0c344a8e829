"""Traces HTTP requests, as pure ASGI. What a span is, tracing.py says; knows no routes."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.http.asgi import http_only, with_start
from service.api.http.middleware import QUIET_PATHS
from service.logs import bound
from service.tracing.tracing import Tracing


class TraceRequests:
    """Pure ASGI: a span for each request, and its traceparent in place of the caller's.

    So whatever reads the header below here, the job too, continues this request's trace.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app = app
        self.tracing = tracing

    @http_only
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Trace requests but those of probes and scrapers."""
        if scope["path"] in QUIET_PATHS:
            await self.app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        span = self.tracing.request(scope["method"], scope["path"], headers.get("traceparent"))
        if span.traceparent is not None:
            headers["traceparent"] = span.traceparent
        status = 500

        def note(message: Message) -> None:
            nonlocal status
            status = message["status"]

        try:
            with bound(trace_id=span.trace_id):
                await self.app(scope, receive, with_start(send, note))
        finally:
            route = getattr(scope.get("route"), "path_format", "unmatched")
            span.end(route, status)
