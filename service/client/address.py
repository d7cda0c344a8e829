"""Where a service is, as people write it, and how a connection gets there.

Knows nothing of what is asked there.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx

from service.client.protocol import EDITS, GENERATIONS, JOBS, MODELS
from service.settings import is_loopback

_EXAMPLE = "an address like http://127.0.0.1:8000 is wanted"
_ENDINGS = (GENERATIONS, EDITS, JOBS, MODELS, "/v1")  # OpenAI's clients want `/v1` at the end


def base_url(text: str) -> str:
    """Scheme, host, port and a proxy's prefix; http where no scheme is given.

    Raises:
        ValueError: this is no address, and why.
    """
    given = text.strip()
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; {_EXAMPLE}") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError(f"{text!r}: {_EXAMPLE}")
    path = parts.path.rstrip("/")
    ending = next((ending for ending in _ENDINGS if path.endswith(ending)), "")
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix(ending)}"


def connect(url: str, **options: Any) -> httpx.AsyncClient:
    """A client for the address.

    This machine is reached directly, whatever proxies the environment names: none of them knows it.

    Raises:
        ValueError: no address, or a proxy that can't be used.
    """
    base = base_url(url)
    if is_loopback(urlsplit(base).hostname or ""):
        options |= {"trust_env": False, "verify": httpx.create_ssl_context()}
    try:
        return httpx.AsyncClient(base_url=base, **options)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ValueError(
            f"the proxy that http_proxy, https_proxy or all_proxy names can't be used: {error}"
        ) from None
