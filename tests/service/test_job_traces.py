from __future__ import annotations

import torch
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.tracing.tracing import Tracing
from service.worker.drawing.engine_events import Drawn, Entered, Event, StepReport
from service.worker.signs.job_traces import JobTraces
from tests.service.makers import make_job

JOB = make_job(num_candidates=4)


def traces() -> tuple[JobTraces, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return JobTraces(Tracing(provider, "0")), exporter


def report(*events: Event) -> StepReport:
    return StepReport(list(events), seconds=0.01, num_rows=4, num_runs=1, num_codes=4)


def entered(run_id: str, prefill_s: float | None) -> Entered:
    return Entered(run_id, JOB, 2, 0, False, False, prefill_s)


def drawn(run_id: str, *, is_last: bool) -> Drawn:
    return Drawn(run_id, (0, 1), torch.zeros(2, 16, 1), is_last)


def names(spans: tuple[ReadableSpan, ...]) -> list[str]:
    return [span.name for span in spans]


def test_a_job_that_enters_in_parts_has_one_prefill_and_one_decode() -> None:
    told, exporter = traces()
    told.begin("run", JOB, attempt=1, waited_s=0.5)
    told.report(report(entered("run", 0.1)), is_idle=False)
    told.report(report(drawn("run", is_last=False), entered("run", None)), is_idle=False)
    told.report(report(drawn("run", is_last=True)), is_idle=True)
    told.stage("run", "pixels", 0.1)
    told.end("run", "succeeded")

    spans = exporter.get_finished_spans()
    assert names(spans) == ["queue", "prefill", "decode", "batch", "pixels", "job"]
    assert len(spans[2].links) == 1


def test_a_run_ends_once_and_what_comes_later_is_let_pass() -> None:
    told, exporter = traces()
    told.begin("run", JOB, attempt=1, waited_s=0)
    told.report(report(entered("run", 0.1)), is_idle=False)
    told.end("run", "cancelled")
    told.end("run", "succeeded")
    told.stage("run", "pixels", 0.1)
    told.report(report(drawn("run", is_last=True)), is_idle=True)
    told.stage("nobody", "pixels", 0.1)

    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"queue", "prefill", "job", "batch"}
    assert spans["job"].attributes is not None
    assert spans["job"].attributes["mindalle.outcome"] == "cancelled"
