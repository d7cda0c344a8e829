"""Connections to webhooks' hosts: a name is looked up once, every address that it has is checked,
and the connection goes to one of those. What comes later (TLS, Host) still has the name.

Knows no HTTP. Reads no proxy from anywhere.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from httpcore import (
    SOCKET_OPTION,
    AnyIOBackend,
    AsyncNetworkBackend,
    AsyncNetworkStream,
    ConnectError,
    ConnectTimeout,
)

from service.hooks.addresses import Address, Allowed, is_inside

_MAX_TRIED = 3  # addresses of one name


class AddressRefusedError(Exception):
    """The name has an address inside."""


class NameUnknownError(Exception):
    """The name has no address, or nobody could say."""


class GuardedBackend(AsyncNetworkBackend):
    """Connects to where webhooks may go. Has threads of its own for looking names up: a name that
    takes long must not keep others of this process waiting.
    """

    def __init__(self, allowed: Allowed, num_lookups: int) -> None:
        self._allowed = allowed
        self._threads = ThreadPoolExecutor(num_lookups, thread_name_prefix="webhook-lookup")
        self._inner = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """To the first of the checked addresses that answers.

        Raises:
            NameUnknownError, AddressRefusedError, and httpcore's own of the last address.
        """
        last: Exception = NameUnknownError(host)
        for address in (await self._addresses(host, port))[:_MAX_TRIED]:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (ConnectError, ConnectTimeout) as error:
                last = error
        raise last

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """No webhook goes to a file."""
        raise AddressRefusedError(path)

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await self._inner.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        """All addresses of a host, when webhooks may go to each of them."""
        found = await self._look_up(host, port)
        for address in found:
            if host in self._allowed.names or self._allowed.has_address(address):
                continue
            if is_inside(address):
                raise AddressRefusedError(f"{host} has the address {address}")
        return found

    async def _look_up(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _look_up, host, port)
        except (OSError, UnicodeError) as error:
            raise NameUnknownError(f"{host}: {error}") from None
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Look nothing up any more; who is being asked is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[Address]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [ip_address(place[0]) for *_, place in answers]
