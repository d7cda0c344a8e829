"""Server-sent events: their wire form, and an answer that streams them.

Comment lines keep idle connections open, and a client that hangs up ends the stream at once. Knows
nothing of jobs: it is given an iterator of events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.http.hangup import ClientGoneError, unless_hung_up
from service.broker.stopping import stop

HEARTBEAT_S = 10.0
_HEARTBEAT = b": still here\n\n"
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its name, a JSON object, and the id a client may resume from."""

    event: str
    data: Mapping[str, object]
    id: str | None = None

    def encode(self) -> bytes:
        """The event as it travels; JSON escapes every line break, so one `data:` line holds it."""
        lines = [] if self.id is None else [f"id: {self.id}"]
        lines += [f"event: {self.event}", f"data: {json.dumps(self.data, separators=(',', ':'))}"]
        return ("\n".join(lines) + "\n\n").encode()


async def _nothing() -> None:
    return None


class EventStream(Response):
    """An answer of `text/event-stream` that lasts as long as its iterator.

    `on_hang_up` runs when the client leaves first. An error inside the iterator breaks the
    connection: whoever makes the iterator turns the errors it expects into events.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[ServerEvent, None],
        on_hang_up: Callable[[], Awaitable[None]] = _nothing,
        headers: Mapping[str, str] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.events = events
        self.on_hang_up = on_hang_up
        self.heartbeat_s = heartbeat_s
        self.status_code = 200
        self.background = None
        self.init_headers({**_HEADERS, **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the iterator ends or the client leaves."""
        try:
            await unless_hung_up(receive, self._pump(send))
        except ClientGoneError:
            await self.on_hang_up()

    async def _pump(self, send: Send) -> None:
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        async with aclosing(with_heartbeats(self.events, self.heartbeat_s)) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def with_heartbeats(
    events: AsyncGenerator[ServerEvent, None], heartbeat_s: float
) -> AsyncGenerator[bytes, None]:
    """Encode each event; after `heartbeat_s` without one, send a comment that clients skip."""
    coming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=heartbeat_s)
            if not done:
                yield _HEARTBEAT
                continue
            event = coming.result()
            if event is None:
                return
            yield event.encode()
            coming = asyncio.ensure_future(anext(events, None))
    finally:
        await stop(coming)
        await events.aclose()
