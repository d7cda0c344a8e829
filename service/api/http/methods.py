"""Which methods a path has: HEAD wherever GET, OPTIONS, and 404 before any other fault.

Pure ASGI, before the body is read: what no route takes is refused whatever its body is. Asks the
router, and knows no route itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotFound

_OF_A_BODY = (b"content-length", b"transfer-encoding", b"content-type")
_NUM_KEPT, _LONGEST_KEPT = 256, 128  # paths, letters
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Methods:
    """`routes` are asked when a request comes, since they come after the middleware."""

    def __init__(self, app: ASGIApp, routes: Callable[[], Sequence[BaseRoute]]) -> None:
        self.app = app
        self.routes = routes
        # Asking each route anew cost a fifth of a short request; most are for a few addresses.
        self._is_taken = lru_cache(maxsize=_NUM_KEPT)(self._finds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what a route takes. Raises NotFound where there is none."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] == "HEAD" and self._takes(scope, "GET"):
            await self._head(scope, receive, send)
        elif scope["method"] != "HEAD" and self._takes(scope, scope["method"]):
            await self.app(scope, receive, send)
        else:
            await self._refuse(scope, receive, send)

    def _takes(self, scope: Scope, method: str) -> bool:
        path: str = scope["path"]
        find = self._is_taken if len(path) <= _LONGEST_KEPT else self._finds
        return find(path, scope.get("root_path", ""), method)

    def _finds(self, path: str, root_path: str, method: str) -> bool:
        asked = {"type": "http", "path": path, "root_path": root_path, "method": method}
        return any(route.matches(asked)[0] is Match.FULL for route in self.routes())

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What GET says before its body; the end of the answer is a stream's hang-up."""
        has_begun = False

        async def begun(message: Message) -> None:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                await send(message)
                await send({"type": "http.response.body", "body": b""})

        await self._inside(scope, receive, begun, method="GET")

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = [method for method in _METHODS if self._takes(scope, method)]
        if not allowed:
            raise NotFound
        if "GET" in allowed:
            allowed.insert(1, "HEAD")
        if scope["method"] == "OPTIONS":
            answer = Response(status_code=204, headers={"allow": ", ".join([*allowed, "OPTIONS"])})
            await answer(scope, receive, send)
            return
        # The router itself refuses, so that log and metrics know the route; its body is not read.
        scope.setdefault("state", {})["allowed_methods"] = allowed
        headers = [pair for pair in scope["headers"] if pair[0] not in _OF_A_BODY]
        await self._inside(scope, receive, send, headers=headers)

    async def _inside(self, scope: Scope, receive: Receive, send: Send, **changes: object) -> None:
        """Go on with a changed scope, and bring back from it which route was found."""
        inner = {**scope, **changes}
        try:
            await self.app(inner, receive, send)
        finally:
            scope["route"] = inner.get("route")
