"""What is traced: a request, the job it makes, the stages of the job, the batches it shared.

Spans have the times that their makers measured. They come from OpenTelemetry's API, which records
nothing unless exporting.py gives it the SDK. Knows no HTTP server, no queue and no engine.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NoOpTracerProvider,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.jobs import STAGE_NAMES, Job
from service.settings import has_trace_exporter

_BATCH_S = 30.0  # under steady load a batch never ends; its spans do
_REMEMBERED = 256  # batch spans that a job's steps may be linked to
_FLUSH_MS = 5000
_PROPAGATOR = TraceContextTextMapPropagator()

_log = logging.getLogger(__name__)

Fact = str | int | float | bool


def _context(traceparent: str | None) -> Context:
    return _PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {})


def _trace_id(span: Span) -> str | None:
    context = span.get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


class RequestSpan:
    """An HTTP request being answered."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    @property
    def traceparent(self) -> str | None:
        """The W3C header that hands this span on as a parent; None when there is no trace."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self._span))
        return carrier.get("traceparent")

    @property
    def trace_id(self) -> str | None:
        """For log lines."""
        return _trace_id(self._span)

    def end(self, route: str, status: int) -> None:
        """The answer is over, or its client is gone."""
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
        self.span.set_attribute("mindalle.batch.steps", self.num_steps)
        self.span.set_attribute("mindalle.batch.most_rows", self.most_rows)
        self.span.set_attribute("mindalle.batch.most_jobs", self.most_jobs)
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
        return [Link(batch.span.get_span_context()) for batch in overlapping]


class JobSpan:
    """A job in the hands of a worker. Safe to use from several threads."""

    def __init__(self, tracer: Tracer, batches: Batches, span: Span) -> None:
        self._tracer = tracer
        self._batches = batches
        self._span = span

    def stage(self, name: str, seconds: float, *, ended_ago_s: float = 0.0) -> None:
        """A stage of the job, that lasted so long and ended just now, or some time ago."""
        end_ns = time.time_ns() - round(ended_ago_s * 1e9)
        start_ns = end_ns - round(seconds * 1e9)
        is_shared = name == STAGE_NAMES["drawing"]
        span = self._tracer.start_span(
            name,
            set_span_in_context(self._span),
            links=self._batches.links(start_ns, end_ns) if is_shared else (),
            start_time=start_ns,
        )
        span.end(end_ns)

    def end(self, outcome: str) -> None:
        """The job has left this worker."""
        self._span.set_attribute("mindalle.outcome", outcome)
        if outcome == "failed":
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Tracing:
    """The tracing of one process, with the given provider. Safe to use from several threads."""

    def __init__(self, provider: TracerProvider, version: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("mindalle", version)
        self._batches = Batches(self._tracer)

    def request(self, method: str, path: str, traceparent: str | None) -> RequestSpan:
        """A request begins: a server span below its caller's, whose header is `traceparent`."""
        attributes = {"http.request.method": method, "url.path": path}
        parent = _context(traceparent)
        span = self._tracer.start_span(method, parent, kind=SpanKind.SERVER, attributes=attributes)
        return RequestSpan(span, method)

    def job(self, job: Job, *, attempt: int, waited_s: float) -> JobSpan:
        """A worker has claimed the job: a span below the request's, and one for its wait."""
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
        return JobSpan(self._tracer, self._batches, span)

    def step(self, num_rows: int, num_jobs: int) -> None:
        """The batch has made a step."""
        self._batches.step(num_rows, num_jobs)

    def rest(self) -> None:
        """The batch has run empty."""
        self._batches.rest()

    def close(self) -> None:
        """End the batch and send what is left, for at most a few seconds."""
        self._batches.rest()
        provider: Any = self._provider  # the SDK's, whose types the API does not have
        if not isinstance(provider, NoOpTracerProvider):
            provider.force_flush(_FLUSH_MS)
            provider.shutdown()


def start(process: str, version: str) -> Tracing:
    """Tracing as the OTEL_ variables want it; `process` becomes part of the service's name."""
    return Tracing(_provider(process, version), version)


def _provider(process: str, version: str) -> TracerProvider:
    if has_trace_exporter():
        try:
            from service.tracing.exporting import exporting  # noqa: PLC0415 - an extra, loaded when asked for
        except ImportError:
            _log.warning("no traces: OTEL_ variables are set but the otel extra is not installed")
        else:
            return exporting(process, version)
    return NoOpTracerProvider()
