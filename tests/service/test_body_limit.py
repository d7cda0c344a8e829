"""The longest body that a route takes, and of what type: BodyLimit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from starlette.types import Receive, Scope, Send

from service.api.http.hangup import ClientGoneError
from service.api.http.middleware import (
    BodyLimit,
    Uploads,
)
from service.api.http.room import Room
from service.errors import BodyTooLarge, BodyTooSlow, UnsupportedMediaType, UploadsFull
from tests.service.asgi_calls import Sent, arriving, chunk, echo, nowhere, request_scope

JSON_HEADERS = {"content_type": "application/json", "transfer_encoding": "chunked"}


async def test_a_body_in_pieces_arrives_whole() -> None:
    sent = Sent()
    receive = arriving(chunk(b'{"a"', more=True), chunk(b":1}"))
    await BodyLimit(echo, max_bytes=100)(request_scope(**JSON_HEADERS), receive, sent)
    assert sent.body == b'{"a":1}'


async def test_a_body_over_the_limit_is_refused_before_all_of_it_came() -> None:
    receive = arriving(chunk(b"x" * 60, more=True), chunk(b"x" * 60, more=True))
    with pytest.raises(BodyTooLarge):
        await BodyLimit(echo, max_bytes=100)(request_scope(**JSON_HEADERS), receive, nowhere)


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    scope = request_scope(content_type="application/json", content_length="101")
    with pytest.raises(BodyTooLarge):
        await BodyLimit(echo, max_bytes=100)(scope, arriving(), nowhere)


async def test_a_body_of_just_the_limit_passes() -> None:
    sent = Sent()
    scope = request_scope(content_type="application/json", content_length="100")
    await BodyLimit(echo, max_bytes=100)(scope, arriving(chunk(b"x" * 100)), sent)
    assert len(sent.body) == 100


def _uploads(room: int) -> Uploads:
    return Uploads(frozenset({"/x"}), max_bytes=100, room=Room(room))


async def test_pictures_have_room_until_they_are_answered() -> None:
    arrived, answering = asyncio.Event(), asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        arrived.set()
        await answering.wait()

    limit = BodyLimit(waits, max_bytes=10, uploads=_uploads(room=150))

    def one(size: int) -> Awaitable[None]:
        receive = arriving(chunk(b"x" * 10, more=True), chunk(b"x" * (size - 10)))
        return limit(request_scope(**JSON_HEADERS), receive, nowhere)

    first = asyncio.ensure_future(one(100))
    await arrived.wait()
    with pytest.raises(UploadsFull):
        await one(80)
    small = asyncio.ensure_future(one(10))  # as long as any other body may be
    answering.set()
    await first
    await small
    await one(80)


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with pytest.raises(BodyTooSlow):
        await BodyLimit(echo, max_bytes=100, timeout_s=0.01)(
            request_scope(**JSON_HEADERS), arriving(chunk(b"{", more=True)), nowhere
        )


async def test_a_client_may_leave_while_it_sends() -> None:
    receive = arriving(chunk(b"{", more=True), {"type": "http.disconnect"})
    with pytest.raises(ClientGoneError):
        await BodyLimit(echo, max_bytes=100)(request_scope(**JSON_HEADERS), receive, nowhere)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "application/json", "content_encoding": "gzip"},
        {},
    ],
)
async def test_a_body_that_is_not_json_is_refused(headers: dict[str, str]) -> None:
    scope = request_scope(transfer_encoding="chunked", **headers)
    with pytest.raises(UnsupportedMediaType):
        await BodyLimit(echo, max_bytes=100)(scope, arriving(chunk(b"{}")), nowhere)


@pytest.mark.parametrize(
    ("has_pictures", "headers", "message"),
    [
        (False, {"content_type": "text/plain"}, "Send the body as application/json."),
        (True, {}, "Send the body as application/json or multipart/form-data."),
        (
            True,
            {"content_type": "application/json", "content_encoding": "gzip"},
            "Send the body without Content-Encoding, as it is.",
        ),
    ],
)
async def test_a_refusal_says_what_to_send(
    has_pictures: bool, headers: dict[str, str], message: str
) -> None:
    limit = BodyLimit(echo, 100, uploads=_uploads(room=100) if has_pictures else None)
    scope = request_scope(transfer_encoding="chunked", **headers)
    with pytest.raises(UnsupportedMediaType) as caught:
        await limit(scope, arriving(chunk(b"{}")), nowhere)
    assert caught.value.message == message


async def test_a_request_without_a_body_needs_no_type() -> None:
    sent = Sent()
    scope = request_scope(content_length="0")
    await BodyLimit(echo, max_bytes=100)(scope, arriving(chunk(b"")), sent)
    assert sent.status == 200


async def test_a_hang_up_reaches_the_application_behind_the_body_limit() -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await echo(request_scope(), receive, send)

    sent = Sent()
    receive = arriving(chunk(b"{}"), {"type": "http.disconnect"})
    await BodyLimit(waits, max_bytes=100)(request_scope(**JSON_HEADERS), receive, sent)
    assert sent.status == 200
