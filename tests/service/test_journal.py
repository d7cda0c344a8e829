from __future__ import annotations

import time
from typing import get_args

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from service.jobs import Phase
from service.metrics import WorkerMetrics
from service.tracing.tracing import Tracing
from service.worker.handover import StepReport
from service.worker.signs.journal import Journal
from service.worker.signs.meter import Meter
from tests.service.makers import MODEL
from tests.service.runs import make_run


class Told:
    """A journal and what can be read of it."""

    def __init__(self) -> None:
        self.exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.registry = CollectorRegistry()
        meter = Meter(WorkerMetrics(self.registry), MODEL)
        self.journal = Journal(meter, Tracing(provider, "0"))

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def num_calls(self, stage: str) -> float | None:
        labels = {"model": MODEL, "stage": stage}
        return self.registry.get_sample_value("mindalle_stage_seconds_count", labels)


def test_the_stamps_of_a_run_become_the_spans_of_its_trace() -> None:
    told, now = Told(), time.monotonic()
    run = make_run(num_candidates=4)
    run.trace = told.journal.claimed(run.claim)
    told.journal.step(StepReport(seconds=0.01, num_rows=4, num_runs=1), 8, is_idle=False)
    run.stamp("prefill", now - 9.0, now - 8.0)
    run.stamp("drawing", now - 8.0, now + 1.0)
    run.stamp("pixels", now + 1.0, now + 1.5)
    told.journal.step(StepReport(), 8, is_idle=True)
    told.journal.let_go(run, "succeeded")

    spans = told.spans()
    assert [span.name for span in spans] == ["queue", "batch", "prefill", "decode", "pixels", "job"]
    prefill, decode, pixels = spans[2:5]
    for span, seconds in ((prefill, 1.0), (decode, 9.0), (pixels, 0.5)):
        assert span.start_time is not None
        assert span.end_time is not None
        assert round((span.end_time - span.start_time) / 1e9, 3) == seconds
    assert prefill.end_time is not None
    assert decode.start_time is not None
    assert abs(prefill.end_time - decode.start_time) < 1e6  # told in one go, apart by rounding
    assert len(decode.links) == 1


def test_each_part_of_a_stage_is_one_observation_and_drawing_is_none() -> None:
    told, run = Told(), make_run()
    for phase in (*get_args(Phase), "pixels"):
        run.stamp(phase, 0.0, 0.5)
    told.journal.let_go(run, "succeeded")
    assert told.num_calls("pixels") == 2
    assert [told.num_calls(stage) for stage in ("prefill", "rerank", "encode")] == [1, 1, 1]
    assert [told.num_calls(stage) for stage in ("decode", "commit", "waiting")] == [None] * 3


def test_how_it_was_let_go_is_in_the_trace() -> None:
    told, run = Told(), make_run()
    run.trace = told.journal.claimed(run.claim)
    told.journal.let_go(run, "cancelled")
    spans = {span.name: span for span in told.spans()}
    assert set(spans) == {"queue", "job"}
    assert spans["job"].attributes is not None
    assert spans["job"].attributes["mindalle.outcome"] == "cancelled"
