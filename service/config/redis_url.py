"""The address of Redis as an operator writes it, taken apart.

What could be a piece of a password is refused where it would be read as another part, and no
message repeats any of it. Knows no scheme and connects to nothing.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

_UNREADABLE = (
    "it can't be read: of a user or password / ? # [ ] and @ are percent-encoded "
    "(%2F %3F %23 %5B %5D %40), and an IPv6 address stands in brackets"
)


def split_redis_url(text: str) -> SplitResult:
    """The address in its parts.

    Raises:
        ValueError: it is none, or a character that ends a part stands inside a password.
    """
    try:
        url = urlsplit(text)
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    names = [option.partition("=")[0] for option in url.query.split("&")]
    is_cut = "@" in url.path if "@" in url.netloc else not _is_whole(url.netloc)
    has_more = "@" in url.path or "@" in url.query
    if "#" in text or any("@" in name for name in names) or (url.netloc and has_more and is_cut):
        raise ValueError(_UNREADABLE)
    return url


def _is_whole(netloc: str) -> bool:
    """Whether hosts and ports stand there, so that an @ behind them can be no password's end."""
    hosts = [part.rpartition(":") if ":" in part else (part, ":", "") for part in netloc.split(",")]
    return all(name and (not port or port.isdecimal()) for name, _, port in hosts)
