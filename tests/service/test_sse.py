from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message, Scope

from service.api.http.hangup import ClientGoneError, unless_hung_up
from service.api.http.sse import EventStream, ServerEvent, with_heartbeats

SCOPE: Scope = {"type": "http"}


async def _connected() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nothing ever arrives on this connection")


async def _disconnected() -> Message:
    return {"type": "http.disconnect"}


class Sent:
    """What an application sent, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


async def _three() -> AsyncGenerator[ServerEvent, None]:
    for number in range(3):
        yield ServerEvent("count", {"number": number}, id=str(number))


def test_an_event_is_one_data_line_whatever_it_holds() -> None:
    event = ServerEvent("message", {"text": "two\nlines\r\u2028"}, id="1-0")
    assert event.encode() == (
        b'id: 1-0\nevent: message\ndata: {"text":"two\\nlines\\r\\u2028"}\n\n'
    )


def test_an_event_without_an_id_leaves_the_line_out() -> None:
    assert ServerEvent("end", {}).encode() == b"event: end\ndata: {}\n\n"


async def test_a_stream_sends_head_events_and_end() -> None:
    sent = Sent()
    await EventStream(_three(), headers={"x-extra": "1"})(SCOPE, _connected, sent)
    head, *_, last = sent.messages
    headers = dict(head["headers"])
    assert head["status"] == 200
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-extra"] == b"1"
    assert b"content-length" not in headers
    assert sent.body.count(b"event: count") == 3
    assert last == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_silence_is_filled_with_comments() -> None:
    release = asyncio.Event()

    async def slow() -> AsyncGenerator[ServerEvent, None]:
        await release.wait()
        yield ServerEvent("late", {})

    chunks = with_heartbeats(slow(), heartbeat_s=0.01)
    assert (await anext(chunks)).startswith(b":")
    release.set()
    rest = [chunk async for chunk in chunks]
    assert rest[-1] == ServerEvent("late", {}).encode()


async def test_a_client_that_leaves_ends_the_stream_and_its_source() -> None:
    closed = asyncio.Event()
    told = asyncio.Event()

    async def endless() -> AsyncGenerator[ServerEvent, None]:
        try:
            while True:
                yield ServerEvent("tick", {})
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async def on_hang_up() -> None:
        told.set()

    stream = EventStream(endless(), on_hang_up)
    async with asyncio.timeout(5):
        await stream(SCOPE, _disconnected, Sent())
    assert closed.is_set()
    assert told.is_set()


async def test_an_error_in_the_source_breaks_the_stream() -> None:
    async def broken() -> AsyncGenerator[ServerEvent, None]:
        yield ServerEvent("first", {})
        raise ValueError("no second")

    sent = Sent()
    with pytest.raises(ValueError, match="no second"):
        await EventStream(broken())(SCOPE, _connected, sent)
    assert b"event: first" in sent.body
    assert sent.messages[-1]["more_body"] is True


async def test_work_is_stopped_when_the_client_leaves() -> None:
    stopped = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    with pytest.raises(ClientGoneError):
        await unless_hung_up(_disconnected, work())
    assert stopped.is_set()


async def test_work_that_ends_first_gives_its_result() -> None:
    async def work() -> int:
        return 7

    assert await unless_hung_up(_connected, work()) == 7
