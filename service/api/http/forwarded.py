"""What proxies say of the address that the caller used: X-Forwarded-* and Forwarded (RFC 7239).

Each proxy adds its own words at the end of a list, so the first ones are about the caller. What is
malformed is as good as not said. Knows no requests, and not whether anyone is to be believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.config.base_url import clean_prefix, split_host

_PAIR = re.compile(
    r"[ \t]*(?P<name>[\w!#$%&'*+.^`|~-]+)="
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s";,]*))',
    re.ASCII,
)
_BETWEEN = re.compile(r"[ \t]*(?:;|,|$)")
_MAX_PREFIX = 200

Scheme = Literal["http", "https"]
Header = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What was said; None or empty where nothing was."""

    scheme: Scheme | None = None
    host: str | None = None
    port: int | None = None
    prefix: str = ""

    @classmethod
    def of(cls, header: Header) -> Forwarded:
        """From a request's headers. `header` gives all values of a name, joined by commas.

        X-Forwarded-* win over Forwarded, and a port inside the host over X-Forwarded-Port: that is
        the one which the caller typed.
        """
        rfc = forwarded_pairs(header("forwarded"))
        scheme = _first(header("x-forwarded-proto")) or rfc.get("proto", "")
        host = _first(header("x-forwarded-host")) or rfc.get("host", "")
        name, port = split_host(host) or (None, None)
        return cls(
            scheme=_scheme(scheme),
            host=name,
            port=port or _port(_first(header("x-forwarded-port"))),
            prefix=_prefix(header("x-forwarded-prefix")),
        )


def _first(text: str) -> str:
    return text.partition(",")[0].strip()


def _scheme(text: str) -> Scheme | None:
    match text.lower():
        case "http":
            return "http"
        case "https":
            return "https"
    return None


def _port(text: str) -> int | None:
    is_one = text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535
    return int(text) if is_one else None


def _prefix(text: str) -> str:
    """Proxies in a row each take their own prefix away, the caller's proxy the first one."""
    parts = [clean_prefix(part.strip()) for part in text.split(",")]
    whole = "".join(part or "" for part in parts)
    return "" if None in parts or len(whole) > _MAX_PREFIX else whole


def forwarded_pairs(text: str) -> dict[str, str]:
    """By name, what the first element says that has the name; nothing of a malformed header."""
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        between = _BETWEEN.match(text, pair.end() if pair else position)
        if between is None:
            return {}
        if pair:
            quoted = pair["quoted"]
            value = pair["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            pairs.setdefault(pair["name"].lower(), value)
        position = between.end()
    return pairs
