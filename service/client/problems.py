"""What went wrong with a call, in one line for the person who made it, and what to do about it."""

from __future__ import annotations

import httpx

from service.cli import CommandError
from service.client.protocol import ApiError


def problem(error: ApiError | httpx.HTTPError | ValueError, url: str) -> CommandError:
    """The error that ends a command: status 2 where another call would do, 1 where time may help.

    `url` is the address as it was given.
    """
    if isinstance(error, ApiError):
        is_mistake = error.status is not None and error.status < 500
        return CommandError(f"{url}: {error}", 2 if is_mistake else 1)
    if isinstance(error, httpx.TimeoutException):
        return CommandError(f"{url} does not answer in time: {_reason(error)}")
    if isinstance(error, httpx.ProxyError):
        return CommandError(
            f"{url} can't be reached through the proxy of http_proxy, https_proxy or all_proxy:"
            f" {_reason(error)}; set no_proxy for it",
            2,
        )
    if isinstance(error, httpx.HTTPError):
        return CommandError(
            f"{url} does not answer: {_reason(error)}; is it the right address and port, and does"
            " the service run there?",
            2,
        )
    return CommandError(str(error), 2)


def _reason(error: httpx.HTTPError) -> str:
    return " ".join(str(error).split()) or type(error).__name__
