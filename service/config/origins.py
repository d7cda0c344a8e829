"""Origins of pages, as an operator lists them and as browsers send them (RFC 6454, WHATWG URL).

A browser sends each origin in one form only, so an entry in any other form would never match; it is
refused with the form that would. Knows no requests.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import SplitResult, urlsplit

ANY = "*"
FILES = "null"  # what pages send that come from a file or run in a sandbox
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST = re.compile(r"[a-z0-9_.-]+")
_EXAMPLE = "such as https://app.example or http://localhost:3000"


def read_origins(text: str) -> frozenset[str]:
    """The origins of a comma-separated list.

    Raises:
        ValueError: an entry is none that a browser ever sends; says which one would be.
    """
    return frozenset(_checked(entry.strip()) for entry in text.split(",") if entry.strip())


def _checked(entry: str) -> str:
    if entry in (ANY, FILES):
        return entry
    sent = _as_browsers_send_it(entry)
    if sent != entry:
        hint = f"write {sent}" if sent else f"an origin is scheme://host:port, {_EXAMPLE}"
        raise ValueError(f"no browser sends the origin {entry!r}: {hint}")
    return entry


def _as_browsers_send_it(entry: str) -> str | None:
    """None when there is no guess."""
    if entry.lower() == FILES or entry.lower().startswith("file:"):
        return FILES
    try:
        url = urlsplit(entry if "://" in entry else f"http://{entry}")
        scheme, host, port = url.scheme.lower(), _host(url), url.port
    except (ValueError, UnicodeError):
        return None
    if host is None or port == 0 or not _SCHEME.fullmatch(scheme):
        return None
    shown = "" if port is None or port == _DEFAULT_PORTS.get(scheme) else f":{port}"
    return f"{scheme}://{host}{shown}"


def _host(url: SplitResult) -> str | None:
    host = url.hostname or ""
    if url.netloc.startswith("["):
        return _bracketed(host)
    host = host.encode("idna").decode() if not host.isascii() else host
    if not _HOST.fullmatch(host):
        return None
    return _ipv4(host) if re.search(r"(^|\.)[0-9]+\.?$", host) else host


def _bracketed(host: str) -> str | None:
    try:
        return f"[{IPv6Address(host)}]"
    except AddressValueError:
        return None


def _ipv4(host: str) -> str | None:
    """Browsers read a host that ends in a number as an address."""
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        return None
