"""The address at which callers reach this server, and its one setting's text. Knows no requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

# Names, IPv4 and bracketed IPv6, with a port or without; nothing that could end a header or a tag.
HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::(?P<port>[0-9]{1,5}))?"
)
_SEGMENT = re.compile(r"[A-Za-z0-9_.~%-]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "such as https://pics.example or https://pics.example/img"


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Scheme, host and port as one text, and the path below which a proxy shows this server.

    `prefix` is empty or begins with a slash and ends without one.
    """

    origin: str
    prefix: str = ""

    def __str__(self) -> str:
        return self.origin + self.prefix

    @classmethod
    def of(cls, scheme: str, host: str, port: int | None, prefix: str = "") -> Self:
        """From its parts; a port is shown where it is not the scheme's own."""
        shown = "" if port in (None, _DEFAULT_PORTS[scheme]) else f":{port}"
        return cls(f"{scheme}://{host}{shown}", prefix)


def split_host(text: str) -> tuple[str, int | None] | None:
    """Name and port of `host` or `host:port`; None for what is neither."""
    found = HOST.fullmatch(text)
    if not found:
        return None
    port = None if found["port"] is None else int(found["port"])
    return None if port is not None and not 1 <= port <= 65535 else (found["name"], port)


def clean_prefix(text: str) -> str | None:
    """A path as a prefix, without slashes at its end; None for what is no plain path.

    Nor does a path do that ends in `/v1`: it is the address of the API, not of the server.
    """
    segments = text.strip("/").split("/")
    if segments == [""]:
        return ""
    is_plain = all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in segments)
    return "/" + "/".join(segments) if is_plain and segments[-1] != "v1" else None


def read_base_url(text: str) -> BaseUrl:
    """The address that an operator wrote.

    Raises:
        ValueError: it is no address that links could be made from; says what one looks like.
    """
    try:
        url = urlsplit(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address, {_EXAMPLE}") from None
    host, prefix = split_host(url.netloc), clean_prefix(url.path)
    if url.scheme not in _DEFAULT_PORTS or host is None:
        raise ValueError(f"{text!r} is not http:// or https:// and a host, {_EXAMPLE}")
    if url.query or url.fragment:
        raise ValueError(f"{text!r} has more than scheme, host and path, {_EXAMPLE}")
    if url.path.rstrip("/").endswith("/v1"):
        raise ValueError(
            f"write {text[: text.rindex('/v1')]}, without the /v1 that routes begin with"
        )
    if prefix is None:
        raise ValueError(f"the path of {text!r} is not made of letters, digits and - _ . ~ %")
    return BaseUrl.of(url.scheme, *host, prefix)
