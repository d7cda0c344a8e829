from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from service.hooks.addresses import Allowed
from service.hooks.sender import Sender, SendError
from service.hooks.target import Rules
from tests.service.receiver import Receiver, receiving, status

TIMEOUT_S = 5.0


@asynccontextmanager
async def sending(
    receiver: Receiver,
    allowed: str = "127.0.0.1",
    *,
    timeout_s: float = TIMEOUT_S,
    ca_file: Path | None = None,
) -> AsyncIterator[Sender]:
    """A sender that may go to the receiver's port."""
    rules = Rules(Allowed.read(allowed), frozenset({receiver.port}), allows_http=True)
    sender = Sender(rules, timeout_s=timeout_s, at_once=4, ca_file=ca_file)
    yield sender
    await sender.close()


async def failure(sender: Sender, url: str) -> SendError:
    with pytest.raises(SendError) as caught:
        await sender.send(url, {"webhook-id": "msg_1"}, b"{}")
    return caught.value


class Resolver:
    """The system's resolver, with answers of the test for some names; counts what it is asked."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self._answers = answers
        self._system = socket.getaddrinfo
        self.asked: list[str] = []

    def __call__(self, host: Any, port: Any, *options: Any, **named: Any) -> list[Any]:
        """As socket.getaddrinfo. The last of a name's answers stays."""
        if host not in self._answers:
            return self._system(host, port, *options, **named)
        self.asked.append(host)
        rest = self._answers[host]
        addresses = rest.pop(0) if len(rest) > 1 else rest[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [answer for each in addresses for answer in self._system(each, port, **named)]


Resolve = Callable[..., Resolver]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Puts such a resolver in the place of the system's."""

    def install(**answers: list[list[str]]) -> Resolver:
        resolver = Resolver({f"{name}.example": given for name, given in answers.items()})
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        return resolver

    return install


async def test_a_message_arrives_as_it_is() -> None:
    async with receiving() as receiver, sending(receiver) as sender:
        url = f"http://127.0.0.1:{receiver.port}/a%20b?c=d"
        await sender.send(url, {"webhook-id": "msg_1", "user-agent": "x"}, b'{"a":"\xc3\xa4"}')
    (got,) = receiver.got
    assert got.line == "POST /a%20b?c=d HTTP/1.1"
    assert got.body == b'{"a":"\xc3\xa4"}'
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["webhook-id"] == "msg_1"


@pytest.mark.parametrize("code", [200, 201, 204, 299])
async def test_every_good_status_is_one(code: int) -> None:
    async with receiving(lambda _: status(code)) as receiver, sending(receiver) as sender:
        await sender.send(f"http://127.0.0.1:{receiver.port}/", {}, b"{}")


@pytest.mark.parametrize(
    ("code", "header", "retry_after_s", "is_gone"),
    [
        (400, "x: y", 0, False),
        (410, "x: y", 0, True),
        (429, "Retry-After: 30", 30, False),
        (503, "retry-after: 99999", 3600, False),
        (503, "retry-after: Fri, 31 Dec 1999 23:59:59 GMT", 0, False),
        (503, "retry-after: Thu, 31 Dec 2999 23:59:59 GMT", 3600, False),
        (503, "retry-after: Tue Dec 31 23:59:59 2999", 3600, False),
        (503, "retry-after: Thu, 31 Dec 99999999999999 23:59:59 GMT", 0, False),
        (503, "retry-after: tomorrow", 0, False),
        (503, "retry-after: -5", 0, False),
    ],
)
async def test_a_bad_status_is_told(
    code: int, header: str, retry_after_s: float, is_gone: bool
) -> None:
    async with receiving(lambda _: status(code, header)) as receiver, sending(receiver) as sender:
        error = await failure(sender, f"http://127.0.0.1:{receiver.port}/")
    assert (error.reason, error.detail) == ("status", f"status {code}")
    assert (error.retry_after_s, error.is_gone) == (retry_after_s, is_gone)


async def test_a_date_to_try_again_at_is_so_far_from_now() -> None:
    header = f"retry-after: {formatdate(time.time() + 1800, usegmt=True)}"
    async with receiving(lambda _: status(503, header)) as receiver, sending(receiver) as sender:
        error = await failure(sender, f"http://127.0.0.1:{receiver.port}/")
    assert 0 < error.retry_after_s <= 1800


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(code: int) -> None:
    async with receiving() as inner:
        away = status(code, f"location: http://127.0.0.1:{inner.port}/")
        async with receiving(lambda _: away) as receiver, sending(receiver) as sender:
            error = await failure(sender, f"http://127.0.0.1:{receiver.port}/")
        assert error.detail == f"status {code}"
        assert inner.num_connections == 0
    assert len(receiver.got) == 1


async def test_a_silent_receiver_is_left() -> None:
    async with receiving(lambda _: None) as receiver, sending(receiver, timeout_s=0.2) as sender:
        error = await failure(sender, f"http://127.0.0.1:{receiver.port}/")
    assert error.reason == "timeout"


async def test_an_answer_that_never_ends_is_left_after_its_status() -> None:
    flood = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"4000\r\n" + b"x" * 0x4000
    flood += b"\r\n4000\r\nx"
    async with receiving(lambda _: flood) as receiver, sending(receiver) as sender:
        await sender.send(f"http://127.0.0.1:{receiver.port}/", {}, b"{}")
        await sender.send(f"http://127.0.0.1:{receiver.port}/", {}, b"{}")
    assert receiver.num_connections == 2  # a connection with more to come is not used again


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
        b"\0" * 64,
        b"HTTP/1.1 200 OK\r\n" + b"\xff" * 60_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_told(answer: bytes) -> None:
    async with receiving(lambda _: answer) as receiver, sending(receiver, timeout_s=1) as sender:
        error = await failure(sender, f"http://127.0.0.1:{receiver.port}/")
    assert error.reason in {"answer", "connect", "timeout"}
    assert len(error.detail) <= 300  # Redis keeps it with the message


async def test_nobody_there() -> None:
    async with receiving() as receiver:
        pass
    async with sending(receiver) as sender:
        assert (await failure(sender, f"http://127.0.0.1:{receiver.port}/")).reason == "connect"


async def test_proxies_of_the_environment_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver, sending(receiver) as sender:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await sender.send(f"http://127.0.0.1:{receiver.port}/", {}, b"{}")
    assert (len(receiver.got), proxy.num_connections) == (1, 0)


INSIDE = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0",
          "64:ff9b::7f00:1", "2002:7f00:1::", "100.64.0.1", "fe80::1", "224.0.0.1"]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
async def test_a_name_of_an_address_inside_is_not_reached(resolve: Resolve, address: str) -> None:
    resolve(evil=[[address]])
    async with receiving() as receiver, sending(receiver, "127.0.0.2") as sender:
        error = await failure(sender, f"http://evil.example:{receiver.port}/")
    assert error.reason == "address"
    assert receiver.num_connections == 0


async def test_one_address_inside_is_enough_to_refuse_a_name(resolve: Resolve) -> None:
    resolve(evil=[["127.0.0.2", "127.0.0.1"]])
    async with receiving(host="127.0.0.2") as receiver, sending(receiver, "127.0.0.2") as sender:
        error = await failure(sender, f"http://evil.example:{receiver.port}/")
    assert (error.reason, receiver.num_connections) == ("address", 0)


async def test_a_name_that_is_bound_anew_leads_nowhere_else(resolve: Resolve) -> None:
    """The name is looked up once for a connection, and that goes to what was checked."""
    resolver = resolve(evil=[["127.0.0.2"], ["127.0.0.1"]])
    async with receiving(host="127.0.0.2") as receiver:
        async with receiving(port=receiver.port) as inner, sending(receiver, "127.0.0.2") as sender:
            url = f"http://evil.example:{receiver.port}/"
            await sender.send(url, {}, b"{}")
            assert (len(receiver.got), resolver.asked) == (1, ["evil.example"])
            await sender.send(url, {}, b"{}")  # on the connection that there is
            assert (len(receiver.got), resolver.asked) == (2, ["evil.example"])
        async with receiving(port=receiver.port) as inner, sending(receiver, "127.0.0.2") as sender:
            error = await failure(sender, url)
    assert error.reason == "address"
    assert (inner.num_connections, receiver.num_connections) == (0, 1)
    assert receiver.got[0].headers["host"] == f"evil.example:{receiver.port}"


async def test_the_next_address_of_a_name_is_tried(resolve: Resolve) -> None:
    resolve(shop=[["127.0.0.3", "127.0.0.2"]])
    async with receiving(host="127.0.0.2") as receiver, sending(receiver, "127.0.0.0/29") as sender:
        await sender.send(f"http://shop.example:{receiver.port}/", {}, b"{}")
    assert len(receiver.got) == 1


async def test_a_host_that_is_allowed_by_name_may_lie_inside(resolve: Resolve) -> None:
    resolve(shop=[["127.0.0.1"]], evil=[["127.0.0.1"]])
    async with receiving() as receiver, sending(receiver, "shop.example") as sender:
        await sender.send(f"http://shop.example:{receiver.port}/", {}, b"{}")
        error = await failure(sender, f"http://evil.example:{receiver.port}/")
    assert (error.reason, len(receiver.got)) == ("address", 1)


async def test_a_name_that_is_not_known(resolve: Resolve) -> None:
    resolve(none=[[]])
    async with receiving() as receiver, sending(receiver) as sender:
        error = await failure(sender, f"http://none.example:{receiver.port}/")
    assert error.reason == "name"


async def test_a_slow_resolver_keeps_nobody_waiting(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = resolve(slow=[["127.0.0.1"]])
    asked, done = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(host: Any, port: Any, *options: Any, **named: Any) -> list[Any]:
        if host == "slow.example":
            loop.call_soon_threadsafe(asked.set)
            asyncio.run_coroutine_threadsafe(done.wait(), loop).result(20)
        return resolver(host, port, *options, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with receiving() as receiver, sending(receiver, timeout_s=2) as sender:
        waiting = asyncio.create_task(failure(sender, f"http://slow.example:{receiver.port}/"))
        await asked.wait()
        await sender.send(f"http://127.0.0.1:{receiver.port}/", {}, b"{}")
        assert (await waiting).reason == "timeout"
        done.set()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of shop.example with its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop"]
    command += ["-addext", "subjectAltName=DNS:shop.example", "-keyout", "-", "-out", "-"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_tls_asks_for_the_name_and_checks_it(resolve: Resolve, certificate: Path) -> None:
    resolve(shop=[["127.0.0.1"]], other=[["127.0.0.1"]])
    async with receiving(tls=_tls(certificate)) as receiver:
        async with sending(receiver, ca_file=certificate) as sender:
            await sender.send(f"https://shop.example:{receiver.port}/", {}, b"{}")
            error = await failure(sender, f"https://other.example:{receiver.port}/")
        async with sending(receiver) as sender:
            unknown = await failure(sender, f"https://shop.example:{receiver.port}/")
    (got,) = receiver.got
    assert got.sni == "shop.example"
    assert got.headers["host"] == f"shop.example:{receiver.port}"
    assert (error.reason, unknown.reason) == ("connect", "connect")
    assert "certificate" in unknown.detail
