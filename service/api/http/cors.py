"""Pages of other origins: the CORS headers of every answer, and the questions browsers ask before.

What a listed origin asks for is allowed, whatever header a client library adds; of any other one no
form is taken, since browsers don't ask before they send those. Pure ASGI; sits around the envelope,
so that errors carry the headers, too. Knows no routes.
"""

from __future__ import annotations

import re
from collections.abc import Set

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.http.asgi import header
from service.api.http.envelope import error_response
from service.api.http.forms import is_form
from service.config.origins import ANY
from service.errors import OriginNotAllowed

# All that an answer may carry and a script may not read unless it is named here.
EXPOSED_HEADERS = (
    "x-request-id", "x-should-retry", "retry-after", "retry-after-ms", "location", "allow",
    "www-authenticate", "content-disposition", "content-encoding", "etag",
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
    "x-mindalle-job-id", "x-mindalle-model", "x-mindalle-seed", "x-mindalle-score",
    "x-mindalle-candidate", "x-mindalle-prompt-truncated", "x-mindalle-size",
    "x-mindalle-native-size", "x-mindalle-num-drawn",
)  # fmt: skip
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_REMEMBERED_S = 600
_ASKED = "access-control-request-method"
_ASKED_HEADERS = "access-control-request-headers"
_ASKED_NETWORK = "access-control-request-private-network"
_HEADER_NAMES = re.compile(r"[\w!#$%&'*+.^`|~, \t-]+", re.ASCII)


class Cors:
    """Lets pages of the given origins call the API and read its answers; `*` means every origin.

    A listed origin may send its user's cookies and certificates, for the sake of a proxy that asks
    for them; with `*` no browser would allow that.
    """

    def __init__(self, app: ASGIApp, origins: Set[str]) -> None:
        self.app = app
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or add the headers to what is answered."""
        is_http = scope["type"] == "http"
        if not is_http or not (self.origins or header(scope, b"origin")):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and "origin" in headers and _ASKED in headers:
            await self._preflight(headers)(scope, receive, send)
            return
        if self._is_strange_form(headers):
            await error_response(OriginNotAllowed(), {"vary": "Origin"})(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), headers.get("origin"))
            await send(message)

        await self.app(scope, receive, marked if self.origins else send)

    def _is_strange_form(self, headers: Headers) -> bool:
        """Browsers ask before they send another page's JSON, but send its forms without asking."""
        origin = headers.get("origin")
        if origin is None or not is_form(headers.get("content-type", "")):
            return False
        is_own = headers.get("sec-fetch-site") == "same-origin"
        is_own = is_own or origin.partition("://")[2] == headers.get("host")
        return not is_own and not self._allowed(origin)

    def _allowed(self, origin: str | None) -> dict[str, str]:
        """The headers that let this origin in; none for any other."""
        if origin is None:
            return {}
        if ANY in self.origins:
            return {"access-control-allow-origin": ANY}
        if origin not in self.origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
        }

    def _mark(self, headers: MutableHeaders, origin: str | None) -> None:
        allowed = self._allowed(origin)
        headers.update(allowed)
        if allowed:
            headers["access-control-expose-headers"] = ", ".join(EXPOSED_HEADERS)
        if ANY not in self.origins:
            headers.add_vary_header(
                "Origin"
            )  # a cache must not give one origin's answer to another

    def _preflight(self, headers: Headers) -> Response:
        allowed = self._allowed(headers["origin"])
        if not allowed:
            return error_response(OriginNotAllowed(), {"vary": "Origin"})
        allowed |= {
            "access-control-allow-methods": _METHODS,
            "access-control-max-age": str(_REMEMBERED_S),
            "vary": f"Origin, {_ASKED}, {_ASKED_HEADERS}, {_ASKED_NETWORK}",
        }
        asked = headers.get(_ASKED_HEADERS, "")
        if _HEADER_NAMES.fullmatch(asked):
            allowed["access-control-allow-headers"] = asked
        if headers.get(_ASKED_NETWORK) == "true":  # from a page on the internet to this machine
            allowed["access-control-allow-private-network"] = "true"
        return Response(status_code=200, headers=allowed)
