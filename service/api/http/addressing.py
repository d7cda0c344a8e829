"""Which address a request came to: the one its caller sees, and the route's own below it.

Pure ASGI, around everything else. Takes a proxy's prefix off the path and a slash off its end, so
that nothing further in needs to know of either; every address in an answer begins with `base`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.http.asgi import header
from service.api.http.forwarded import Forwarded
from service.config.base_url import BaseUrl, split_host

_KEY = "address"


@dataclass(frozen=True, slots=True)
class Address:
    """Where this server is for a caller. `is_told`: by the operator or a trusted proxy."""

    base: BaseUrl
    is_told: bool

    def path(self, path: str) -> str:
        """A path of ours as a link: with the whole address where that is told, else on its own."""
        return f"{self.base}{path}" if self.is_told else path


class Addressing:
    """`public_url` is the operator's word and wins; else proxies are asked if they are trusted."""

    def __init__(self, app: ASGIApp, public_url: BaseUrl | None, *, trust_proxy: bool) -> None:
        self.app = app
        self.public_url = public_url
        self.trust_proxy = trust_proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the address into `scope["state"]` and the route's path into `scope["path"]`."""
        if scope["type"] == "http":
            base = self._base_url(scope)
            is_told = self.public_url is not None or self.trust_proxy
            scope.setdefault("state", {})[_KEY] = Address(base, is_told)
            scope["path"] = _inner(scope["path"], base.prefix)
        await self.app(scope, receive, send)

    def _base_url(self, scope: Scope) -> BaseUrl:
        if self.public_url is not None:
            return self.public_url
        server = scope.get("server") or ("localhost", None)
        direct = scope["scheme"], header(scope, b"host"), server[0], server[1]
        if not self.trust_proxy:
            return _direct_address(*direct)
        headers = Headers(scope=scope)
        said = Forwarded.of(lambda name: ",".join(headers.getlist(name)))
        return _seen_address(said, *direct)


# Most callers of a process say the same; what others make up pushes out no more than these.
@lru_cache(maxsize=64)
def _direct_address(scheme: str, host_header: str, server: str, server_port: int | None) -> BaseUrl:
    return _seen_address(Forwarded(), scheme, host_header, server, server_port)


def _seen_address(
    said: Forwarded, scheme: str, host_header: str, server: str, server_port: int | None
) -> BaseUrl:
    host, port = split_host(host_header) or (_bracketed(server), server_port)
    if said.host is not None:
        host, port = said.host, said.port
    return BaseUrl.of(said.scheme or scheme, host, said.port or port, said.prefix)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _inner(path: str, prefix: str) -> str:
    """The path as routes know it, whether or not the proxy has taken its prefix off."""
    if "//" in path:
        path = re.sub("/{2,}", "/", path)
    if path == prefix or path.startswith(f"{prefix}/"):
        path = path.removeprefix(prefix)
    return path.rstrip("/") or "/"


def address(request: HTTPConnection) -> Address:
    """Where this server is for the caller of this request."""
    found: Address = request.scope["state"][_KEY]
    return found
