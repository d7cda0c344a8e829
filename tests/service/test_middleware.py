from __future__ import annotations

import json
import logging

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.http.envelope import ErrorEnvelope
from service.api.http.middleware import (
    BodyLimit,
    CloseWhileDraining,
    Observe,
    RequestId,
    SecurityHeaders,
)
from service.api.http.request_tracing import TraceRequests
from service.logs import JsonLines
from service.metrics import ApiMetrics
from service.tracing import tracing
from tests.service.asgi_calls import Sent, arriving, chunk, echo, nowhere, request_scope


async def _broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("the secret path /etc/shadow")


@pytest.mark.parametrize("given", ["abc", "a" * 128, "0f:1.2_3-4"])
async def test_a_sane_request_id_is_kept(given: str) -> None:
    sent, scope = Sent(), request_scope(x_request_id=given)
    await RequestId(echo)(scope, arriving(chunk(b"")), sent)
    assert sent.headers["x-request-id"] == given
    assert scope["state"]["request_id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\r\nx: y", "é", "<script>"])
async def test_any_other_request_id_is_replaced(given: str) -> None:
    sent = Sent()
    await RequestId(echo)(request_scope(x_request_id=given), arriving(chunk(b"")), sent)
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

    scope = request_scope(x_request_id="r1", traceparent=traceparent)
    await RequestId(logs)(scope, arriving(), nowhere)
    (line,) = map(json.loads, lines)
    assert (line["request_id"], line.get("trace_id")) == ("r1", trace_id)


async def test_browsers_are_told_to_be_careful() -> None:
    sent = Sent()
    await SecurityHeaders(echo)(request_scope(), arriving(), sent)
    assert sent.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in sent.headers["content-security-policy"]


async def test_an_unforeseen_error_says_nothing_of_the_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = Sent()
    await ErrorEnvelope(_broken)(request_scope(), arriving(), sent)
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
        await ErrorEnvelope(half)(request_scope(), arriving(), nowhere)


async def test_requests_are_counted_by_route_and_logged_without_their_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    scope: Scope = {**request_scope(), "method": "BREW"}
    with caplog.at_level(logging.INFO, "service.access"):
        await Observe(echo, ApiMetrics(registry))(scope, arriving(), nowhere)
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
        await middleware({"type": kind}, arriving(), nowhere)
    assert seen == [{"type": kind}] * len(around)
