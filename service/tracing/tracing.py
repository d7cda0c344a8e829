"""What is traced: a request, the job it makes, the stages of the job, the batches it shared.

Without the `otel` extra, or when no OTEL_ variable names an exporter, nothing is traced and nothing
is paid. Names no OpenTelemetry class: service/tracing/otel.py does.
"""

from __future__ import annotations

import logging
from typing import Protocol

from service.jobs import Job
from service.settings import has_trace_exporter

Fact = str | int | float | bool

_log = logging.getLogger(__name__)


class RequestSpan(Protocol):
    """An HTTP request being answered."""

    @property
    def traceparent(self) -> str | None:
        """The W3C header that hands this span on as a parent."""

    @property
    def trace_id(self) -> str | None:
        """For log lines."""

    def end(self, route: str, status: int) -> None:
        """The answer is over, or its client is gone."""


class JobSpan(Protocol):
    """A job in the hands of a worker. Safe to use from several threads."""

    @property
    def trace_id(self) -> str | None:
        """For log lines."""

    def stage(self, name: str, seconds: float, *, ended_ago_s: float = 0.0, **facts: Fact) -> None:
        """A stage of the job, that lasted so long and ended just now, or some time ago."""

    def end(self, outcome: str) -> None:
        """The job has left this worker."""


class Tracing(Protocol):
    """The tracing of one process."""

    def request(self, method: str, path: str, traceparent: str | None) -> RequestSpan:
        """A request begins; `traceparent` is its caller's header."""

    def job(self, job: Job, *, attempt: int, waited_s: float) -> JobSpan:
        """A worker has claimed the job; it waited so long. Continues the trace of its request."""

    def step(self, num_rows: int, num_jobs: int) -> None:
        """The batch has made a step."""

    def rest(self) -> None:
        """The batch has run empty."""

    def close(self) -> None:
        """Send what is left, for at most a few seconds."""


class NoSpan:
    """Stands for any span when nothing is traced."""

    traceparent: str | None = None
    trace_id: str | None = None

    def stage(self, name: str, seconds: float, *, ended_ago_s: float = 0.0, **facts: Fact) -> None:
        """Nothing."""

    def end(self, *facts: object) -> None:
        """Nothing."""


class NoTracing:
    """Traces nothing."""

    def request(self, method: str, path: str, traceparent: str | None) -> RequestSpan:
        """No span."""
        return NoSpan()

    def job(self, job: Job, *, attempt: int, waited_s: float) -> JobSpan:
        """No span."""
        return NoSpan()

    def step(self, num_rows: int, num_jobs: int) -> None:
        """Nothing."""

    def rest(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def start(process: str, version: str) -> Tracing:
    """Tracing as the OTEL_ variables want it; `process` becomes part of the service's name."""
    if not has_trace_exporter():
        return NoTracing()
    try:
        from service.tracing.otel import OtelTracing  # noqa: PLC0415 - an extra, loaded when asked for
    except ImportError:
        _log.warning("no traces: OTEL_ variables are set but the otel extra is not installed")
        return NoTracing()
    return OtelTracing.exporting(process, version)
