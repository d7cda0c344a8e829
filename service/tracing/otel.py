"""Tracing with OpenTelemetry: spans with the times that their makers measured, sent by OTLP.

Where to and how much is the SDK's own matter: the standard OTEL_ variables. Knows no HTTP server,
no queue and no engine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.jobs import Job
from service.tracing.tracing import Fact, JobSpan, RequestSpan

_BATCH_S = 30.0  # under steady load a batch never ends; its spans do
_REMEMBERED = 256  # batch spans that a job's steps may be linked to
_PROPAGATOR = TraceContextTextMapPropagator()


def _context(traceparent: str | None) -> Context:
    return _PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {})


def _trace_id(span: Span) -> str:
    return format_trace_id(span.get_span_context().trace_id)


class _OtelRequest:
    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    @property
    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self._span))
        return carrier.get("traceparent")

    @property
    def trace_id(self) -> str | None:
        return _trace_id(self._span)

    def end(self, route: str, status: int) -> None:
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


@dataclass(slots=True)
class _Batch:
    """One stretch of the batch's work. `end_ns` is None while it lasts."""

    span: Span
    start_ns: int
    end_ns: int | None = None
    num_steps: int = 0
    most_rows: int = 0
    most_jobs: int = 0

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        """True when some of it lies between the two times."""
        return self.start_ns <= end_ns and (self.end_ns is None or self.end_ns >= start_ns)

    def close(self, end_ns: int) -> None:
        """End its span, with what it has seen."""
        self.end_ns = end_ns
        self.span.set_attributes({
            "mindalle.batch.steps": self.num_steps,
            "mindalle.batch.most_rows": self.most_rows,
            "mindalle.batch.most_jobs": self.most_jobs,
        })  # fmt: skip
        self.span.end(end_ns)


class Batches:
    """The spans of a worker's batch: from the first step after a rest to the next rest."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._lock = threading.Lock()
        self._current: _Batch | None = None
        self._recent: deque[_Batch] = deque(maxlen=_REMEMBERED)

    def step(self, num_rows: int, num_jobs: int) -> None:
        """Count a step; begin a span if there is none."""
        now = time.time_ns()
        with self._lock:
            batch = self._current
            if batch is None or now - batch.start_ns > _BATCH_S * 1e9:
                if batch is not None:
                    batch.close(now)
                span = self._tracer.start_span("batch", Context(), start_time=now)
                batch = self._current = _Batch(span, now)
                self._recent.append(batch)
            batch.num_steps += 1
            batch.most_rows = max(batch.most_rows, num_rows)
            batch.most_jobs = max(batch.most_jobs, num_jobs)

    def rest(self) -> None:
        """End the span."""
        with self._lock:
            if self._current is not None:
                self._current.close(time.time_ns())
                self._current = None

    def links(self, start_ns: int, end_ns: int) -> list[Link]:
        """To the batches of this time."""
        with self._lock:
            overlapping = [batch for batch in self._recent if batch.overlaps(start_ns, end_ns)]
        contexts: list[SpanContext] = [batch.span.get_span_context() for batch in overlapping]
        return [Link(context) for context in contexts]


class _OtelJob:
    def __init__(self, tracer: Tracer, batches: Batches, span: Span) -> None:
        self._tracer = tracer
        self._batches = batches
        self._span = span

    @property
    def trace_id(self) -> str | None:
        return _trace_id(self._span)

    def stage(self, name: str, seconds: float, *, ended_ago_s: float = 0.0, **facts: Fact) -> None:
        end_ns = time.time_ns() - round(ended_ago_s * 1e9)
        start_ns = end_ns - round(seconds * 1e9)
        span = self._tracer.start_span(
            name,
            set_span_in_context(self._span),
            links=self._batches.links(start_ns, end_ns) if name == "decode" else (),
            attributes={f"mindalle.{fact}": value for fact, value in facts.items()},
            start_time=start_ns,
        )
        span.end(end_ns)

    def end(self, outcome: str) -> None:
        self._span.set_attribute("mindalle.outcome", outcome)
        if outcome == "failed":
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtelTracing:
    """Tracing that makes spans with the given provider."""

    def __init__(self, provider: TracerProvider, version: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("mindalle", version)
        self._batches = Batches(self._tracer)

    @classmethod
    def exporting(cls, process: str, version: str) -> Self:
        """With an exporter as the OTEL_ variables describe it. OTEL_SERVICE_NAME wins over ours."""
        resource = Resource.create().merge(Resource({"service.version": version}))
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": f"mindalle-{process}"}))
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider, version)

    def request(self, method: str, path: str, traceparent: str | None) -> RequestSpan:
        """A server span below the caller's."""
        attributes = {"http.request.method": method, "url.path": path}
        span = self._tracer.start_span(
            method, _context(traceparent), kind=SpanKind.SERVER, attributes=attributes
        )
        return _OtelRequest(span, method)

    def job(self, job: Job, *, attempt: int, waited_s: float) -> JobSpan:
        """A consumer span below the request's, from the claim on; its wait is a span beside it."""
        parent = _context(job.traceparent)
        now = time.time_ns()
        waiting = self._tracer.start_span("queue", parent, start_time=now - round(waited_s * 1e9))
        waiting.end(now)
        attributes: dict[str, Fact] = {
            "mindalle.job_id": job.id,
            "mindalle.model": job.recipe.model,
            "mindalle.candidates": job.recipe.num_candidates,
            "mindalle.attempt": attempt,
        }
        span = self._tracer.start_span(
            "job", parent, kind=SpanKind.CONSUMER, attributes=attributes, start_time=now
        )
        return _OtelJob(self._tracer, self._batches, span)

    def step(self, num_rows: int, num_jobs: int) -> None:
        """Part of the current batch span."""
        self._batches.step(num_rows, num_jobs)

    def rest(self) -> None:
        """Ends the current batch span."""
        self._batches.rest()

    def close(self) -> None:
        """Ends the batch and sends everything."""
        self._batches.rest()
        self._provider.force_flush(5000)
        self._provider.shutdown()
