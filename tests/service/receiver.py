"""A server that gets webhooks: a real HTTP server of a few lines, that can misbehave on demand.

It writes down what it got, and checks nothing: that the test does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD5sMPY2IrbNc="
OTHER_SECRET = "whsec_0123456789abcdefghijABCDEFGHIJ0123456789abc="


@dataclass(frozen=True, slots=True)
class Received:
    """One request. `sni` is the name that TLS asked for."""

    line: str
    headers: dict[str, str]
    body: bytes
    sni: str | None = None


# What to answer: bytes as they are, an empty answer hangs up, None says nothing until the end.
Answer = Callable[[Received], bytes | None]


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer."""
    head = [f"HTTP/1.1 {code} Whatever", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


class Receiver:
    """What came, and what is answered."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.got: list[Received] = []
        self.num_connections = 0
        self.port = 0
        self.gate = asyncio.Event()  # while it is cleared, no answer comes
        self.gate.set()
        self.sni: str | None = None
        self._ended = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.num_connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode("latin-1").strip().split("\r\n")
                headers = dict(each.lower().split(": ", 1) for each in rest)
                headers |= {k.lower(): v for k, v in (each.split(": ", 1) for each in rest)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.got.append(Received(line, headers, body, self.sni))
                await self.gate.wait()
                answer = self.answer(self.got[-1])
                if answer is None:
                    await self._ended.wait()
                if not answer:
                    break
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side has gone
        finally:
            writer.close()

    def end(self) -> None:
        """Let go of those that wait for an answer."""
        self._ended.set()


@asynccontextmanager
async def receiving(
    answer: Answer = lambda _: status(204),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Receiver]:
    """A receiver at work."""
    receiver = Receiver(answer)
    if tls is not None:
        tls.sni_callback = lambda _, name, __: setattr(receiver, "sni", name)
    server = await asyncio.start_server(receiver.handle, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.end()
        server.close()
