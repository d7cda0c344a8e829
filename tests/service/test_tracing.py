from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.api.http.request_tracing import TraceRequests
from service.jobs import Job
from service.tracing import tracing
from service.tracing.tracing import Tracing
from tests.otlp import receiving
from tests.service.makers import make_job

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider, "0")


def job(traceparent: str | None = None) -> Job:
    return make_job(prompt="a red heart", num_candidates=4, traceparent=traceparent)


def by_name(spans: Sequence[ReadableSpan]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


def ids(span: ReadableSpan) -> tuple[str, int | None]:
    assert span.context is not None
    return format(span.context.trace_id, "032x"), span.parent and span.parent.span_id


def app(traced: Tracing) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/jobs/{job_id}")
    async def show(job_id: str, request: Request) -> dict[str, str | None]:
        if job_id == "missing":
            raise HTTPException(404)
        if job_id == "broken":
            raise HTTPException(500)
        return {"traceparent": request.headers.get("traceparent")}

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {}

    app.add_middleware(TraceRequests, tracing=traced)
    return app


def client(traced: Tracing) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app(traced))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_a_request_continues_its_callers_trace_and_hands_it_on(
    traced: Tracing, exporter: InMemorySpanExporter
) -> None:
    async with client(traced) as caller:
        answer = await caller.get("/v1/jobs/a", headers={"traceparent": PARENT})

    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert ids(span) == (TRACE, 0xB7AD6B7169203331)
    assert answer.json()["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert span.name == "GET /v1/jobs/{job_id}"
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200


async def test_only_server_errors_are_errors(
    traced: Tracing, exporter: InMemorySpanExporter
) -> None:
    async with client(traced) as caller:
        await caller.get("/v1/jobs/missing")
        await caller.get("/v1/jobs/broken")
        await caller.get("/no/such/path")

    spans = exporter.get_finished_spans()
    assert [span.status.is_ok for span in spans] == [True, False, True]
    assert spans[2].name == "GET unmatched"


async def test_probes_leave_no_spans(traced: Tracing, exporter: InMemorySpanExporter) -> None:
    async with client(traced) as caller:
        await caller.get("/livez")

    assert exporter.get_finished_spans() == ()


async def test_untraced_requests_keep_their_header() -> None:
    async with client(tracing.start("api", "0")) as caller:
        answer = await caller.get("/v1/jobs/a", headers={"traceparent": PARENT})

    assert answer.json()["traceparent"] == PARENT


def test_a_job_and_its_stages_are_in_the_trace_of_its_request(
    traced: Tracing, exporter: InMemorySpanExporter
) -> None:
    span = traced.job(job(PARENT), attempt=2, waited_s=1.5)
    span.stage("prefill", 0.25)
    span.stage("encode", 0.5)
    span.end("succeeded")

    spans = by_name(exporter.get_finished_spans())
    assert {ids(each)[0] for each in spans.values()} == {TRACE}
    assert ids(spans["job"])[1] == ids(spans["queue"])[1] == 0xB7AD6B7169203331
    assert spans["job"].context is not None
    assert spans["prefill"].parent is not None
    assert spans["prefill"].parent.span_id == spans["job"].context.span_id
    assert spans["job"].attributes is not None
    assert spans["job"].attributes["mindalle.attempt"] == 2
    assert spans["job"].attributes["mindalle.outcome"] == "succeeded"
    for name, seconds in (("queue", 1.5), ("prefill", 0.25), ("encode", 0.5)):
        start, end = spans[name].start_time, spans[name].end_time
        assert start is not None
        assert end is not None
        assert (end - start) / 1e9 == pytest.approx(seconds)


def test_a_span_never_holds_the_prompt(traced: Tracing, exporter: InMemorySpanExporter) -> None:
    traced.job(job(), attempt=1, waited_s=0).end("failed")

    for span in exporter.get_finished_spans():
        assert "a red heart" not in span.to_json()


def test_jobs_that_shared_a_batch_link_to_it(
    traced: Tracing, exporter: InMemorySpanExporter
) -> None:
    first, second = (traced.job(job(), attempt=1, waited_s=0) for _ in range(2))
    traced.step(4, 1)
    traced.step(8, 2)
    for span in (first, second):
        span.stage("decode", 0.01)
        span.stage("pixels", 0.01)
        span.end("succeeded")
    traced.rest()
    traced.rest()

    spans = exporter.get_finished_spans()
    (batch,) = (span for span in spans if span.name == "batch")
    assert batch.context is not None
    assert batch.parent is None
    assert batch.attributes == {
        "mindalle.batch.steps": 2,
        "mindalle.batch.most_rows": 8,
        "mindalle.batch.most_jobs": 2,
    }
    for span_ in spans:
        expected = [batch.context.span_id] if span_.name == "decode" else []
        assert [link.context.span_id for link in span_.links] == expected


def test_a_batch_that_never_rests_is_cut_into_spans(
    traced: Tracing, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_BATCH_S", -1.0)
    span = traced.job(job(), attempt=1, waited_s=0)
    for _ in range(3):
        traced.step(1, 1)
    span.stage("decode", 1.0)
    traced.rest()

    spans = exporter.get_finished_spans()
    assert [each.name for each in spans].count("batch") == 3
    (decode,) = (each for each in spans if each.name == "decode")
    assert len(decode.links) == 3


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_traced_unless_asked_for(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    silent = tracing.start("api", "0")
    assert silent.request("GET", "/", None).traceparent is None
    silent.job(job(), attempt=1, waited_s=0).end("succeeded")
    assert silent.request("GET", "/", PARENT).traceparent == PARENT
    silent.close()


def test_without_the_extra_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "service.tracing.exporting", None)

    with caplog.at_level(logging.WARNING):
        assert tracing.start("api", "0").request("GET", "/", None).traceparent is None
    assert "otel extra" in caplog.text


def test_spans_go_to_where_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        traced = tracing.start("worker", "1.2.3")
        traced.job(job(PARENT), attempt=1, waited_s=0).end("succeeded")
        traced.close()

    assert {(span.service, span.trace_id) for span in receiver.spans} == {
        ("mindalle-worker", TRACE)
    }
    assert sorted(span.name for span in receiver.spans) == ["job", "queue"]


def test_the_services_name_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
        traced = tracing.start("worker", "1.2.3")
        traced.job(job(), attempt=1, waited_s=0).end("succeeded")
        traced.close()

    assert {span.service for span in receiver.spans} == {"pictures"}
