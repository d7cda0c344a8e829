"""Mirrors of the weights' official addresses, as operators write them."""

from __future__ import annotations

from urllib.parse import urlsplit

_EXAMPLE = "an address like https://mirror.example/weights is wanted"


def read_mirrors(text: str) -> tuple[str, ...]:
    """The addresses of a comma-separated list, without a slash at their ends.

    Raises:
        ValueError: one is no address, or holds what `mindalle config show` would tell everybody.
    """
    mirrors = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    for mirror in mirrors:
        parts = urlsplit(mirror)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{mirror!r}: {_EXAMPLE}")
        if parts.username or parts.query or parts.fragment:
            raise ValueError("a mirror's address has neither a user nor a query; " + _EXAMPLE)
    return mirrors
