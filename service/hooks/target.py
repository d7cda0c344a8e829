"""From a webhook's address, as a caller wrote it, to where a connection may go: all that can be
told without asking for the name's addresses.

Strict on purpose: each way to write a host but the plain one has been used to hide another host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from service.hooks.addresses import Allowed, is_inside, literal

MAX_URL = 2048  # characters
_PLAIN = re.compile(r"[!-~]+", re.ASCII)
_STRANGE = frozenset('\\"<>^`{|}')
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?")
# The system's resolver reads 2130706433, 0x7f.1 and 0177.0.0.1 as addresses, too.
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")
_DEFAULT_PORTS = {"https": 443, "http": 80}


class TargetRefusedError(Exception):
    """No webhook goes there; the message says why, for the caller."""


def read_ports(text: str) -> frozenset[int]:
    """From a comma-separated list.

    Raises:
        ValueError: an entry is no port, or there is none.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for entry in entries:
        if not (entry.isascii() and entry.isdecimal() and 1 <= int(entry) <= 65535):
            raise ValueError(f"{entry!r} is no port, such as 443")
    if not entries:
        raise ValueError("at least one port is needed, such as 443")
    return frozenset(map(int, entries))


@dataclass(frozen=True, slots=True)
class Rules:
    """Where webhooks may go."""

    allowed: Allowed
    ports: frozenset[int]
    allows_http: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """An address in parts. `host` is in small letters, without brackets or a dot at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str, rules: Rules) -> Self:
        """The parts of the address.

        Raises:
            TargetRefusedError: it is not allowed, or no plain address.
        """
        _check_letters(url)
        try:
            parts = urlsplit(url)
        except ValueError:
            raise TargetRefusedError("this is no address") from None
        if parts.scheme not in (("https", "http") if rules.allows_http else ("https",)):
            wanted = "https:// or http://" if rules.allows_http else "https://"
            raise TargetRefusedError(f"it must begin with {wanted}")
        if "@" in parts.netloc:
            raise TargetRefusedError("it must hold no user and no password")
        if "#" in url:
            raise TargetRefusedError("it must hold no fragment (#…)")
        host, port = _split(parts.netloc, _DEFAULT_PORTS[parts.scheme])
        _check_port(port, rules)
        _check_host(host, rules.allowed)
        query = f"?{parts.query}" if parts.query else ""
        return cls(parts.scheme, host, port, (parts.path or "/") + query)

    @property
    def host_header(self) -> str:
        """As a browser would send it."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == _DEFAULT_PORTS[self.scheme] else f"{shown}:{self.port}"


def _check_letters(url: str) -> None:
    if len(url) > MAX_URL:
        raise TargetRefusedError(f"it is longer than {MAX_URL} characters")
    if not _PLAIN.fullmatch(url) or _STRANGE & set(url):
        raise TargetRefusedError(
            "it holds a character that must be written as %XX, or in punycode in a host's name"
        )


def _split(netloc: str, default_port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(netloc)
    if not found:
        raise TargetRefusedError(
            "it has no plain host, such as hooks.example or hooks.example:8443"
        )
    host = found[1].lower().removesuffix(".")
    if host.startswith("["):
        host = host[1:-1]
        if literal(host) is None:
            raise TargetRefusedError("what is in brackets is no IPv6 address")
    return host, default_port if found[2] is None else int(found[2])


def _check_port(port: int, rules: Rules) -> None:
    if port not in rules.ports:
        listed = ", ".join(map(str, sorted(rules.ports)))
        raise TargetRefusedError(f"its port must be one of {listed}")


def _check_host(host: str, allowed: Allowed) -> None:
    if host in allowed.names:
        return
    address = literal(host)
    if address is not None:
        if is_inside(address) and not allowed.has_address(address):
            raise TargetRefusedError("this address is not open to webhooks")
        return
    labels = host.split(".")
    if not all(labels) or _NUMBER.fullmatch(labels[-1]):
        raise TargetRefusedError("its host is neither a name nor four numbers from 0 to 255")
    if len(labels) == 1 or labels[-1] == "localhost":
        raise TargetRefusedError("its host is no full name, such as hooks.example")
