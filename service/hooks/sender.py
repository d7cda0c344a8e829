"""Sends one message to one address, once: within a time, without redirects, and without believing
anything of the answer but its status.

Knows neither what a message says nor what happens after a failure.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpcore

from service.hooks.dial import AddressRefusedError, GuardedBackend, NameUnknownError
from service.hooks.target import Rules, Target, TargetRefusedError
from service.hooks.webhook import FailReason

_MAX_READ = 16_384  # bytes of an answer that nobody looks at: enough to use the connection again
_IDLE_S = 5.0
_MAX_DETAIL = 300  # characters: it may hold what a receiver sent, and is kept with the message
_LONGEST_RETRY_AFTER_S = 3600.0


class SendError(Exception):
    """It did not arrive, or was not taken. `detail` is for the operator.

    `retry_after_s` is what the receiver asked for; `is_gone`: it wants no more at all.
    """

    def __init__(
        self,
        reason: FailReason,
        detail: str,
        *,
        retry_after_s: float = 0.0,
        is_gone: bool = False,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail[:_MAX_DETAIL]
        self.retry_after_s = retry_after_s
        self.is_gone = is_gone


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is looked at of an answer."""

    status: int
    headers: Mapping[str, str]


class Sender:
    """Up to `at_once` connections. `ca_file` holds certificates to trust beside the system's."""

    def __init__(
        self, rules: Rules, *, timeout_s: float, at_once: int, ca_file: Path | None = None
    ) -> None:
        self._rules = rules
        self._timeout_s = timeout_s
        self._extensions = {
            "timeout": {"connect": timeout_s / 2}
        }  # so that a next address is tried
        self._backend = GuardedBackend(rules.allowed, at_once)
        trust = ssl.create_default_context()
        if ca_file is not None:
            trust.load_verify_locations(ca_file)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trust,
            max_connections=at_once,
            keepalive_expiry=_IDLE_S,
            network_backend=self._backend,
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """POST the body; returns once a status of 200 to 299 has come.

        Raises:
            SendError: none has.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._post(Target.of(url, self._rules), headers, body)
        except TargetRefusedError as error:
            raise SendError("address", str(error)) from None
        except AddressRefusedError as error:
            raise SendError("address", f"not open to webhooks: {error}") from None
        except NameUnknownError as error:
            raise SendError("name", f"no address: {error}") from None
        except (TimeoutError, httpcore.TimeoutException):
            raise SendError("timeout", f"no answer within {self._timeout_s:g} s") from None
        except (httpcore.ConnectError, httpcore.NetworkError) as error:
            raise SendError("connect", f"{type(error).__name__}: {error}") from None
        except httpcore.ProtocolError as error:
            raise SendError("answer", f"no HTTP answer: {error}") from None
        _check(answer)

    async def _post(self, target: Target, headers: Mapping[str, str], body: bytes) -> _Answer:
        url = httpcore.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        sent = {"host": target.host_header, "content-length": str(len(body)), **headers}
        request = self._pool.stream(
            "POST", url, headers=list(sent.items()), content=body, extensions=self._extensions
        )
        async with request as response:
            num_read = 0
            async for chunk in response.aiter_stream():
                num_read += len(chunk)
                if num_read > _MAX_READ:
                    break
            found = {
                name.decode("ascii").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            return _Answer(response.status, found)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()
        self._backend.close()


def _check(answer: _Answer) -> None:
    if 200 <= answer.status < 300:
        return
    raise SendError(
        "status",
        f"status {answer.status}",
        retry_after_s=_retry_after_s(answer.headers.get("retry-after", "")),
        is_gone=answer.status == 410,
    )


def _retry_after_s(text: str) -> float:
    """Of the header, which says seconds or a date; nothing where it says neither."""
    is_number = text.isascii() and text.isdecimal() and len(text) < 10
    seconds = float(text) if is_number else _seconds_until(text)
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S)


def _seconds_until(text: str) -> float:
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
