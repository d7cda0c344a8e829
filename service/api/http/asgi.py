"""What our middlewares share: only HTTP is theirs, and most want a look at how an answer begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
