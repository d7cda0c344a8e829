"""The one form of every error answer, and the one place that catches errors.

Turns a domain error into `{"error": {message, type, param, code}}` with the headers that tell a
client whether to try again. An error nobody foresaw becomes a 500 that says nothing of the inside.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.http.asgi import http_only
from service.api.http.hangup import ClientGoneError
from service.errors import (
    DomainError,
    MethodNotAllowed,
    QueueUnavailable,
    RateLimited,
    Unauthenticated,
)

CLIENT_GONE_STATUS = 499  # nobody reads it; it marks the request in the log and in the metrics

_log = logging.getLogger(__name__)


def error_body(error: DomainError) -> dict[str, dict[str, str | None]]:
    """The JSON of an error: all four keys, always."""
    return {
        "error": {
            "message": _printable(error.message),
            "type": error.type,
            "param": None if error.param is None else _printable(error.param),
            "code": error.code,
        }
    }


def _printable(text: str) -> str:
    """Without lone surrogates, which JSON can carry in and UTF-8 can't carry out."""
    return text.encode("utf-8", "replace").decode("utf-8")


def error_response(error: DomainError, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP answer for a domain error."""
    return JSONResponse(error_body(error), error.status, {**_headers(error), **(headers or {})})


def _headers(error: DomainError) -> dict[str, str]:
    headers = {}
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(error.retry_after_s * 1000)))
    if isinstance(error, RateLimited):
        headers["x-ratelimit-remaining-requests"] = "0"
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    return headers


class ErrorEnvelope:
    """Middleware around everything that may raise: whatever comes out leaves as an envelope.

    `on_fault` is told of each time that Redis was the reason.
    """

    def __init__(
        self, app: ASGIApp, on_fault: Callable[[QueueUnavailable], None] | None = None
    ) -> None:
        self.app = app
        self.on_fault = on_fault

    @http_only
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the inner application when it raises before its answer has begun."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if has_begun:
                raise  # the server logs it and breaks the connection: half an answer can't be saved
            if isinstance(error, QueueUnavailable) and self.on_fault is not None:
                self.on_fault(error)
            await _answer_for(error)(scope, receive, send)


def _answer_for(error: Exception) -> Response:
    if isinstance(error, ClientGoneError):
        return Response(status_code=CLIENT_GONE_STATUS)
    if isinstance(error, DomainError):
        return error_response(error)
    _log.error("request failed", exc_info=error)
    return error_response(DomainError())
