"""Every Prometheus metric, declared once, on the registry that is passed in.

One struct per kind of process, so that no process shows series it never fills. Labels come from
closed sets (model, stage, state, code, route, reason); never a prompt, an id or a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from service import outlet
from service.hooks.webhook import FailReason
from service.jobs import STAGE_NAMES, Phase

_TIMED: tuple[Phase, ...] = ("prefill", "pixels", "ranking", "enhancing", "encoding")
STAGES = tuple(STAGE_NAMES[phase] for phase in _TIMED)
ADMISSION_REASONS = (
    "queue_full",
    "rate_limit_exceeded",
    "key_share_exceeded",
    "webhooks_full",
    "uploads_full",
    "no_worker",
    "no_worker_for_pictures",
    "draining",
)
OUTCOMES = ("succeeded", "failed", "expired")

_JOB_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900)
_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_HTTP_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FILL = tuple(n / 10 for n in range(1, 11))
_JOBS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class _New:
    """Declares metrics below our prefix. Names of labels have spaces between them."""

    registry: CollectorRegistry

    def counter(self, name: str, about: str, labels: str = "") -> Counter:
        return Counter(f"mindalle_{name}", about, labels.split(), registry=self.registry)

    def gauge(self, name: str, about: str, labels: str = "") -> Gauge:
        return Gauge(f"mindalle_{name}", about, labels.split(), registry=self.registry)

    def histogram(self, name: str, about: str, edges: Sequence[float], labels: str) -> Histogram:
        names = labels.split()
        return Histogram(f"mindalle_{name}", about, names, buckets=edges, registry=self.registry)

    def info(self, name: str, about: str) -> Info:
        return Info(f"mindalle_{name}", about, registry=self.registry)


def _redis_faults(new: _New) -> Counter:
    about = "Times that Redis did not answer or refused, by reason."
    return new.counter("redis_faults", about, "reason")


def _results_faults(new: _New) -> Counter:
    about = "Times that the store of results, where it is not Redis, did not answer or refused."
    return new.counter("results_faults", about)


class DroppedLines(Collector):
    """What this process said and nobody got; counted where it is dropped."""

    def __init__(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The one sample."""
        yield CounterMetricFamily(
            "mindalle_log_lines_dropped",
            "Lines of output that could not be written, or not soon enough.",
            value=outlet.num_dropped(),
        )


def new_registry() -> CollectorRegistry:
    """A process's own, with what any process of ours tells beside its metrics."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector, DroppedLines):
        collector(registry=registry)
    return registry


class ApiMetrics:
    """What the API process counts. The gauges come from Redis: set them just before a scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        new = _New(registry)
        self.build = new.info("build", "Version of this server.")
        self.requests = new.counter(
            "http_requests", "HTTP answers by route template and status code.", "method route code"
        )
        self.request_seconds = new.histogram(
            "http_request_seconds",
            "Time to the end of an HTTP answer.",
            _HTTP_SECONDS,
            "method route",
        )
        self.requests_running = new.gauge(
            "http_requests_running", "HTTP requests being answered now."
        )
        self.hang_ups = new.counter("http_hang_ups", "Clients that left before their answer.")
        self.admitted = new.counter("jobs_admitted", "Jobs accepted.", "model")
        self.rejected = new.counter("jobs_rejected", "Jobs refused, by reason.", "model reason")
        self.jobs_cancelled = new.counter(
            "jobs_cancelled", "Jobs that their callers cancelled or left.", "model"
        )
        self.queue_jobs = new.gauge("queue_jobs", "Jobs waiting in the queue.", "model")
        self.queue_oldest_seconds = new.gauge(
            "queue_oldest_age_seconds", "Age of the job that has waited longest.", "model"
        )
        self.running_jobs = new.gauge("running_jobs", "Jobs that workers hold.", "model")
        self.candidates_in_flight = new.gauge(
            "candidates_in_flight", "Candidates waiting or running.", "model"
        )
        self.drain_rate = new.gauge(
            "drain_candidates_per_second", "Measured rate at which candidates leave.", "model"
        )
        self.workers_live = new.gauge(
            "workers_live", "Workers with a fresh heartbeat, by state.", "model state"
        )
        self.dead_letters = new.gauge("dead_letters", "Jobs in the dead-letter stream.")
        self.redis_up = new.gauge("redis_up", "1 when Redis answered at the last scrape.")
        self.redis_faults = _redis_faults(new)
        self.results_faults = _results_faults(new)
        self.sweep = SweepMetrics(registry)
        self.webhooks = WebhookMetrics(registry)

    def cancelled(self, model: str, *, was_live: bool) -> None:
        """A caller wanted a job cancelled, which may have ended before."""
        self.jobs_cancelled.labels(model).inc(was_live)


class SweepMetrics:
    """Jobs that end or wait again by the queue's own rules; each one is counted in one process.

    They are not in `mindalle_jobs`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        new = _New(registry)
        self.lease_losses = new.counter("lease_losses", "Leases that ended unrenewed.")
        self.redeliveries = new.counter("redeliveries", "Jobs put back for another attempt.")
        self.dead_lettered = new.counter(
            "jobs_dead_lettered", "Jobs given up after their last attempt."
        )
        self.expired = new.counter(
            "jobs_swept_expired", "Jobs ended at their deadline, waiting or in a worker's hands."
        )


class WebhookMetrics:
    """Messages to callers' own servers. The gauges come from Redis, as those of the queue do."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = _New(registry)
        self.delivered = new.counter("webhooks_delivered", "Messages that their receivers took.")
        self.failed = new.counter(
            "webhook_attempts_failed", "Attempts to send a message that failed.", "reason"
        )
        self.retried = new.counter(
            "webhooks_retried", "Failed attempts that are followed by another one."
        )
        self.dead_lettered = new.counter("webhooks_dead_lettered", "Messages given up.")
        self.pending = new.gauge("webhooks_pending", "Messages that wait or are being sent.")
        self.oldest_seconds = new.gauge(
            "webhooks_oldest_age_seconds", "Age of the message that has waited longest."
        )
        self.letters = new.gauge("webhook_dead_letters", "Messages among the dead letters.")
        for reason in get_args(FailReason):
            self.failed.labels(reason)  # there from the first scrape


class WorkerMetrics:
    """What a worker process measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        new = _New(registry)
        self.build = new.info("build", "Version of this server.")
        self.model = new.gauge(
            "model_info",
            "The models this worker holds: preset, licence, device, number type.",
            "preset licence device dtype",
        )
        self.up = new.gauge("worker_up", "1 while it claims jobs.")
        self.state = new.gauge("worker_state", "1 for the state that the worker is in.", "state")
        self.last_step_time = new.gauge(
            "worker_last_step_timestamp_seconds", "Wall time of the last step."
        )
        self.load_seconds = new.gauge("weights_load_seconds", "Time to load the weights.")
        self.warm_up_seconds = new.gauge("warm_up_seconds", "Time from loaded to ready.")
        self.redis_faults = _redis_faults(new)
        self.results_faults = _results_faults(new)
        self._declare_residence(new)
        self._declare_jobs(new)
        self._declare_batch(new)
        self.sweep = SweepMetrics(registry)

    def _declare_residence(self, new: _New) -> None:
        self.model_state = new.gauge(
            "model_state", "1 for the state that the model is in, here.", "model state"
        )
        self.model_bytes = new.gauge(
            "model_bytes", "Memory that its weights and rows hold, 0 unless loaded.", "model"
        )
        self.model_load_seconds = new.gauge(
            "model_load_seconds", "Time that it took to load and warm up the last time.", "model"
        )
        self.model_loads = new.counter(
            "model_loads", "Times it was loaded, or failed.", "model outcome"
        )
        self.model_unloads = new.counter("model_unloads", "Times it was unloaded.", "model reason")

    def _declare_jobs(self, new: _New) -> None:
        self.jobs = new.counter("jobs", "Jobs that ended here, by outcome.", "model outcome")
        self.images = new.counter("images", "Pictures committed.", "model")
        self.end_to_end_seconds = new.histogram(
            "job_seconds", "From accepted to committed.", _JOB_SECONDS, "model"
        )
        self.queue_wait_seconds = new.histogram(
            "queue_wait_seconds", "From accepted to claimed.", _JOB_SECONDS, "model"
        )
        self.stage_seconds = new.histogram(
            "stage_seconds",
            "Time of one call of a stage other than a step.",
            _STAGE_SECONDS,
            "model stage",
        )
        self.finishing_images = new.gauge(
            "finishing_candidates", "Candidates between their last code and their file.", "model"
        )
        self.leases_lost_here = new.counter(
            "worker_leases_lost", "Claims that were gone when renewed or committed.", "model"
        )

    def _declare_batch(self, new: _New) -> None:
        self.step_seconds = new.histogram(
            "step_seconds", "Time of one step of the whole batch.", _STAGE_SECONDS, "model"
        )
        self.rows_total = new.gauge("rows", "Rows of the batch.", "model")
        self.rows_busy = new.gauge("rows_busy", "Rows in use.", "model")
        self.batch_fill = new.histogram(
            "batch_fill_ratio", "Busy rows of all rows, per step.", _FILL, "model"
        )
        self.batch_jobs = new.histogram("batch_jobs", "Different jobs in one step.", _JOBS, "model")
        self.joins = new.counter(
            "batch_joins", "Jobs that entered while others were running.", "model"
        )
        self.codes = new.counter("codes", "Codes drawn.", "model")
        self.rows_left_early = new.counter(
            "rows_left_early", "Rows freed before their last code, by reason.", "model reason"
        )
        self.wasted_codes = new.counter(
            "wasted_codes", "Codes drawn for rows that left early.", "model"
        )
        self.batch_crashes = new.counter("batch_crashes", "Steps that raised an error.", "model")
        self.out_of_memory = new.counter(
            "out_of_memory", "Times the device ran out of memory.", "model"
        )
