from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.client.address import base_url, connect

MEANT = {
    "http://127.0.0.1:8000": "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/": "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/v1": "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/v1/": "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/v1/images/generations": "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/?x=1#top": "http://127.0.0.1:8000",
    " localhost:8000 ": "http://localhost:8000",
    "127.0.0.1": "http://127.0.0.1",
    "[::1]:8000": "http://[::1]:8000",
    "pics.example/img/v1": "http://pics.example/img",
    "https://user:word@pics.example/img/": "https://user:word@pics.example/img",
    "HTTP://pics.example": "http://pics.example",
}
NONE = ["", "  ", "http://", "ftp://pics.example", "http://[::1", "http://h:99999", "h:port", "h:0",
        "/v1", "file:///etc/passwd"]  # fmt: skip


@pytest.mark.parametrize(("given", "meant"), MEANT.items())
def test_an_address_is_understood_as_people_write_it(given: str, meant: str) -> None:
    assert base_url(given) == meant


@pytest.mark.parametrize("given", NONE)
def test_what_is_no_address_says_what_is_wanted(given: str) -> None:
    with pytest.raises(ValueError, match=r"an address like http://127\.0\.0\.1:8000"):
        base_url(given)


@contextmanager
def _answering() -> Iterator[int]:
    """A port where whoever asks is told 204."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop = asyncio.get_running_loop()

        async def answer() -> None:
            connection, _ = await loop.sock_accept(listener)
            with connection:
                await loop.sock_recv(connection, 65_536)
                await loop.sock_sendall(connection, b"HTTP/1.1 204 No Content\r\n\r\n")

        listener.setblocking(False)
        task = asyncio.create_task(answer())
        yield listener.getsockname()[1]
        task.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "http://:none"])
async def test_this_machine_is_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: str, host: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    with _answering() as port:
        async with connect(f"{host}:{port}") as http:
            assert (await http.get("/")).status_code == 204


async def test_other_machines_are_reached_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with _answering() as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        async with connect("http://pics.example") as http:
            assert (await http.get("/")).status_code == 204


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://:none"])
def test_a_proxy_that_can_not_be_used_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(ValueError, match="the proxy that http_proxy, https_proxy or all_proxy"):
        connect("http://pics.example")
