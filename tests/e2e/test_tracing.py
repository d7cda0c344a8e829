"""One trace from the HTTP request to the committed picture, through both processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.stack import Stack, serving
from tests.otlp import ReceivedSpan, Receiver, receiving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PATH = "/v1/images/generations"
STAGES = {"prefill", "decode", "pixels", "rerank", "encode", "commit"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture(scope="module")
def traced(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("traced")
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "MINDALLE_LOG_FORMAT": "json",
        "MINDALLE_TESTING__STEP_DELAY_S": "0.08",
    }
    with serving(folder, settings=settings) as running:
        yield running


def of_trace(spans: list[ReceivedSpan], trace_id: str) -> dict[str, ReceivedSpan]:
    return {span.name: span for span in spans if span.trace_id == trace_id}


def test_one_trace_from_http_to_png(traced: Stack, receiver: Receiver) -> None:
    headers = {"accept": "image/png", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = traced.http.post(PATH, json={"prompt": "a red heart"}, headers=headers)
    assert answer.status_code == 200

    receiver.until(lambda spans: {"job", f"POST {PATH}"} <= set(of_trace(spans, TRACE)))
    spans = of_trace(receiver.spans, TRACE)
    request, job = spans[f"POST {PATH}"], spans["job"]
    assert set(spans) == {request.name, "job", "queue"} | STAGES
    assert (request.service, job.service) == ("mindalle-api", "mindalle-worker")
    assert request.parent_id == "00f067aa0ba902b7"
    assert spans["queue"].parent_id == job.parent_id == request.span_id
    assert {spans[stage].parent_id for stage in STAGES} == {job.span_id}
    assert job.attributes["mindalle.job_id"] == answer.headers["x-mindalle-job-id"]
    assert job.attributes["mindalle.outcome"] == "succeeded"
    in_order = [spans[name].end_ns for name in ("queue", "prefill", "decode", "encode", "commit")]
    assert in_order == sorted(in_order)
    for stage in STAGES:
        assert spans[stage].end_ns <= job.end_ns
    assert spans["decode"].end_ns - spans["decode"].start_ns > 16 * 0.08 * 1e9 * 0.8


def test_jobs_of_one_batch_link_to_one_span(traced: Stack, receiver: Receiver) -> None:
    traces = [f"{number:032x}" for number in range(1, 4)]

    def ask(trace: str) -> int:
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        body = {"prompt": "a red heart", "num_candidates": 4}
        return traced.http.post(PATH, json=body, headers=headers).status_code

    with ThreadPoolExecutor(3) as callers:
        assert set(callers.map(ask, traces)) == {200}
    receiver.until(lambda spans: all("job" in of_trace(spans, trace) for trace in traces))

    links = [set(of_trace(receiver.spans, trace)["decode"].links) for trace in traces]
    (shared,) = set.intersection(*links)
    # The batch's own span comes when the batch is empty, after those of its jobs.
    receiver.until(lambda spans: any(span.span_id == shared for span in spans))
    (batch,) = (span for span in receiver.spans if span.span_id == shared)
    assert batch.name == "batch"
    assert int(batch.attributes["mindalle.batch.most_jobs"]) >= 2
    assert batch.trace_id not in traces


def test_log_lines_of_both_processes_name_the_trace(traced: Stack) -> None:
    trace = f"{99:032x}"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    traced.http.post(PATH, json={"prompt": "very secret words"}, headers=headers)

    def lines(log: Path) -> list[dict[str, object]]:
        complete = log.read_text().rpartition("\n")[0]
        parsed = [json.loads(line) for line in complete.splitlines()]
        return [line for line in parsed if line.get("trace_id") == trace]

    worker, api = traced.workers[0].log, traced.api.log
    traced.until(lambda: any(line["message"] == "job ended" for line in lines(worker)))
    assert {line["message"] for line in lines(worker)} >= {"job claimed", "job ended"}
    # Written when the answer has gone out, which the caller may see first.
    traced.until(lambda: any(line["logger"] == "service.access" for line in lines(api)))
    for log in (worker, traced.api.log):
        assert "very secret words" not in log.read_text()
