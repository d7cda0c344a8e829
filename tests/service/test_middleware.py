from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.http.envelope import ErrorEnvelope
from service.api.http.hangup import ClientGoneError
from service.api.http.middleware import (
    BodyLimit,
    CloseWhileDraining,
    Observe,
    RequestId,
    SecurityHeaders,
    Uploads,
)
from service.api.http.request_tracing import TraceRequests
from service.api.http.room import Room
from service.errors import BodyTooLarge, BodyTooSlow, QueueFull, UnsupportedMediaType
from service.logs import JsonLines
from service.metrics import ApiMetrics
from service.tracing import tracing


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with what it received."""
    body = b""
    if scope["headers"]:
        message = await receive()
        body = message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def _broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("the secret path /etc/shadow")


def _scope(**headers: str) -> Scope:
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"type": "http", "method": "POST", "path": "/x", "headers": pairs}


def _arriving(*messages: Message) -> Receive:
    left = list(messages)

    async def receive() -> Message:
        if left:
            return left.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("nothing more arrives")

    return receive


def _chunk(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def _nowhere(message: Message) -> None:
    return None


class Sent:
    """What an application sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


JSON_HEADERS = {"content_type": "application/json", "transfer_encoding": "chunked"}


async def test_a_body_in_pieces_arrives_whole() -> None:
    sent = Sent()
    receive = _arriving(_chunk(b'{"a"', more=True), _chunk(b":1}"))
    await BodyLimit(_echo, max_bytes=100)(_scope(**JSON_HEADERS), receive, sent)
    assert sent.body == b'{"a":1}'


async def test_a_body_over_the_limit_is_refused_before_all_of_it_came() -> None:
    receive = _arriving(_chunk(b"x" * 60, more=True), _chunk(b"x" * 60, more=True))
    with pytest.raises(BodyTooLarge):
        await BodyLimit(_echo, max_bytes=100)(_scope(**JSON_HEADERS), receive, _nowhere)


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    scope = _scope(content_type="application/json", content_length="101")
    with pytest.raises(BodyTooLarge):
        await BodyLimit(_echo, max_bytes=100)(scope, _arriving(), _nowhere)


async def test_a_body_of_just_the_limit_passes() -> None:
    sent = Sent()
    scope = _scope(content_type="application/json", content_length="100")
    await BodyLimit(_echo, max_bytes=100)(scope, _arriving(_chunk(b"x" * 100)), sent)
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
        receive = _arriving(_chunk(b"x" * 10, more=True), _chunk(b"x" * (size - 10)))
        return limit(_scope(**JSON_HEADERS), receive, _nowhere)

    first = asyncio.ensure_future(one(100))
    await arrived.wait()
    with pytest.raises(QueueFull):
        await one(80)
    small = asyncio.ensure_future(one(10))  # as long as any other body may be
    answering.set()
    await first
    await small
    await one(80)


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with pytest.raises(BodyTooSlow):
        await BodyLimit(_echo, max_bytes=100, timeout_s=0.01)(
            _scope(**JSON_HEADERS), _arriving(_chunk(b"{", more=True)), _nowhere
        )


async def test_a_client_may_leave_while_it_sends() -> None:
    receive = _arriving(_chunk(b"{", more=True), {"type": "http.disconnect"})
    with pytest.raises(ClientGoneError):
        await BodyLimit(_echo, max_bytes=100)(_scope(**JSON_HEADERS), receive, _nowhere)


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
    scope = _scope(transfer_encoding="chunked", **headers)
    with pytest.raises(UnsupportedMediaType):
        await BodyLimit(_echo, max_bytes=100)(scope, _arriving(_chunk(b"{}")), _nowhere)


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
    limit = BodyLimit(_echo, 100, uploads=_uploads(room=100) if has_pictures else None)
    scope = _scope(transfer_encoding="chunked", **headers)
    with pytest.raises(UnsupportedMediaType) as caught:
        await limit(scope, _arriving(_chunk(b"{}")), _nowhere)
    assert caught.value.message == message


async def test_a_request_without_a_body_needs_no_type() -> None:
    sent = Sent()
    scope = _scope(content_length="0")
    await BodyLimit(_echo, max_bytes=100)(scope, _arriving(_chunk(b"")), sent)
    assert sent.status == 200


async def test_a_hang_up_reaches_the_application_behind_the_body_limit() -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await _echo(_scope(), receive, send)

    sent = Sent()
    receive = _arriving(_chunk(b"{}"), {"type": "http.disconnect"})
    await BodyLimit(waits, max_bytes=100)(_scope(**JSON_HEADERS), receive, sent)
    assert sent.status == 200


@pytest.mark.parametrize("given", ["abc", "a" * 128, "0f:1.2_3-4"])
async def test_a_sane_request_id_is_kept(given: str) -> None:
    sent, scope = Sent(), _scope(x_request_id=given)
    await RequestId(_echo)(scope, _arriving(_chunk(b"")), sent)
    assert sent.headers["x-request-id"] == given
    assert scope["state"]["request_id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\r\nx: y", "é", "<script>"])
async def test_any_other_request_id_is_replaced(given: str) -> None:
    sent = Sent()
    await RequestId(_echo)(_scope(x_request_id=given), _arriving(_chunk(b"")), sent)
    assert sent.headers["x-request-id"].startswith("req_")


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [(f"00-{TRACE_ID}-b7ad6b7169203331-01", TRACE_ID), ("00-xyz-1-01", None), ("", None)],
)
async def test_log_lines_carry_request_and_trace(traceparent: str, trace_id: str | None) -> None:
    lines: list[str] = []

    async def logs(scope: Scope, receive: Receive, send: Send) -> None:
        record = logging.makeLogRecord({"name": "service.access", "msg": "inside"})
        lines.append(JsonLines("api").format(record))

    scope = _scope(x_request_id="r1", traceparent=traceparent)
    await RequestId(logs)(scope, _arriving(), _nowhere)
    (line,) = map(json.loads, lines)
    assert (line["request_id"], line.get("trace_id")) == ("r1", trace_id)


async def test_browsers_are_told_to_be_careful() -> None:
    sent = Sent()
    await SecurityHeaders(_echo)(_scope(), _arriving(), sent)
    assert sent.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in sent.headers["content-security-policy"]


async def test_an_unforeseen_error_says_nothing_of_the_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = Sent()
    await ErrorEnvelope(_broken)(_scope(), _arriving(), sent)
    assert sent.status == 500
    error = json.loads(sent.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == "internal_error"
    assert b"shadow" not in sent.body
    assert "shadow" in caplog.text


async def test_an_error_after_the_answer_has_begun_breaks_it() -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("too late")

    with pytest.raises(ValueError, match="too late"):
        await ErrorEnvelope(half)(_scope(), _arriving(), _nowhere)


async def test_requests_are_counted_by_route_and_logged_without_their_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    scope: Scope = {**_scope(), "method": "BREW"}
    with caplog.at_level(logging.INFO, "service.access"):
        await Observe(_echo, ApiMetrics(registry))(scope, _arriving(), _nowhere)
    labels = {"method": "OTHER", "route": "unmatched"}
    counted = registry.get_sample_value("mindalle_http_requests_total", labels | {"code": "200"})
    timed = registry.get_sample_value("mindalle_http_request_seconds_count", labels)
    assert (counted, timed) == (1.0, 1.0)
    (record,) = caplog.records
    assert record.__dict__["route"] == "unmatched"
    assert "/x" not in str(record.__dict__["route"])


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_http_request_is_passed_on_as_it_is(kind: str) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    metrics = ApiMetrics(CollectorRegistry())
    around: list[ASGIApp] = [
        RequestId(app),
        SecurityHeaders(app),
        CloseWhileDraining(app, is_draining=lambda: True),
        Observe(app, metrics),
        BodyLimit(app, max_bytes=1),
        ErrorEnvelope(app),
        TraceRequests(app, tracing.start("api", "0")),
    ]
    for middleware in around:
        await middleware({"type": kind}, _arriving(), _nowhere)
    assert seen == [{"type": kind}] * len(around)
