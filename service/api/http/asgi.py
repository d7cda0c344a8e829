"""What our middlewares share: only HTTP is theirs, and most want a look at how an answer begins.

Every request passes all of them, so headers are read and added here as ASGI has them, in bytes:
Starlette's `Headers` would cost more than all else that the middlewares do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Protocol, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Middleware(Protocol):
    """Something around an application."""

    app: ASGIApp


_M = TypeVar("_M", bound=Middleware)
_Call = Callable[[_M, Scope, Receive, Send], Awaitable[None]]


def http_only(call: _Call[_M]) -> _Call[_M]:
    """For a middleware's `__call__`: what is no HTTP request goes straight to its application."""

    @wraps(call)
    async def guarded(self: _M, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await call(self, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    return guarded


def with_start(send: Send, use: Callable[[Message], None]) -> Send:
    """A `send` that first shows the message with which the answer begins, to read or to change."""

    async def showing(message: Message) -> None:
        if message["type"] == "http.response.start":
            use(message)
        await send(message)

    return showing


def header(scope: Scope, name: bytes) -> str:
    """The first of a request's headers of that name, which is in small letters; or empty."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def add_missing(message: Message, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Add to an answer that begins what it has no header of that name of already."""
    own: Sequence[tuple[bytes, bytes]] = message.get("headers", ())
    names = {name for name, _ in own}
    message["headers"] = [*own, *(pair for pair in headers if pair[0] not in names)]
