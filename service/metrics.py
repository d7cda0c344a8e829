"""Every Prometheus metric, declared once, on the registry that is passed in.

One struct per kind of process, so that no process shows series it never fills. Labels come from
closed sets (model, stage, state, code, route, reason); never a prompt, an id or a key.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

STAGES = ("prefill", "pixels", "rerank", "encode")
ADMISSION_REASONS = ("queue_full", "rate_limit_exceeded", "key_share_exceeded", "no_worker",
                     "draining")  # fmt: skip
OUTCOMES = ("succeeded", "failed", "cancelled", "expired")

_JOB_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900)
_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_HTTP_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FILL = tuple(n / 10 for n in range(1, 11))


def _redis_faults(registry: CollectorRegistry) -> Counter:
    return Counter(
        "mindalle_redis_faults", "Times that Redis did not answer or refused, by reason.",
        ["reason"], registry=registry,
    )  # fmt: skip


class ApiMetrics:
    """What the API process counts. The gauges come from Redis: set them just before a scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.build = Info("mindalle_build", "Version of this server.", registry=registry)
        self.requests = Counter(
            "mindalle_http_requests", "HTTP answers by route template and status code.",
            ["method", "route", "code"], registry=registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "mindalle_http_request_seconds", "Time to the end of an HTTP answer.",
            ["method", "route"], buckets=_HTTP_SECONDS, registry=registry,
        )  # fmt: skip
        self.requests_running = Gauge(
            "mindalle_http_requests_running", "HTTP requests being answered now.", registry=registry
        )
        self.hang_ups = Counter(
            "mindalle_http_hang_ups", "Clients that left before their answer.", registry=registry
        )
        self.admitted = Counter(
            "mindalle_jobs_admitted", "Jobs accepted.", ["model"], registry=registry
        )
        self.rejected = Counter(
            "mindalle_jobs_rejected", "Jobs refused, by reason.",
            ["model", "reason"], registry=registry,
        )  # fmt: skip
        self.cancelled_waiting = Counter(
            "mindalle_jobs_cancelled_waiting", "Jobs cancelled before a worker had them.",
            ["model"], registry=registry,
        )  # fmt: skip
        self.queue_jobs = Gauge(
            "mindalle_queue_jobs", "Jobs waiting in the queue.", ["model"], registry=registry
        )
        self.queue_oldest_seconds = Gauge(
            "mindalle_queue_oldest_age_seconds", "Age of the job that has waited longest.",
            ["model"], registry=registry,
        )  # fmt: skip
        self.running_jobs = Gauge(
            "mindalle_running_jobs", "Jobs that workers hold.", ["model"], registry=registry
        )
        self.candidates_in_flight = Gauge(
            "mindalle_candidates_in_flight", "Candidates waiting or running.",
            ["model"], registry=registry,
        )  # fmt: skip
        self.drain_rate = Gauge(
            "mindalle_drain_candidates_per_second", "Measured rate at which candidates leave.",
            ["model"], registry=registry,
        )  # fmt: skip
        self.workers_live = Gauge(
            "mindalle_workers_live", "Workers with a fresh heartbeat, by state.",
            ["model", "state"], registry=registry,
        )  # fmt: skip
        self.dead_letters = Gauge(
            "mindalle_dead_letters", "Jobs in the dead-letter stream.", registry=registry
        )
        self.redis_up = Gauge(
            "mindalle_redis_up", "1 when Redis answered at the last scrape.", registry=registry
        )
        self.redis_faults = _redis_faults(registry)
        self.sweep = SweepMetrics(registry)

    def cancelled(self, model: str, *, was_waiting: bool) -> None:
        """A caller cancelled a job. One that runs is counted by its worker."""
        self.cancelled_waiting.labels(model).inc(was_waiting)


class SweepMetrics:
    """Jobs that end or wait again by the queue's own rules; each one is counted in one process.

    They are not in `mindalle_jobs`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lease_losses = Counter(
            "mindalle_lease_losses", "Leases that ended unrenewed.", registry=registry
        )
        self.redeliveries = Counter(
            "mindalle_redeliveries", "Jobs put back for another attempt.", registry=registry
        )
        self.dead_lettered = Counter(
            "mindalle_jobs_dead_lettered", "Jobs given up after their last attempt.",
            registry=registry,
        )  # fmt: skip
        self.expired = Counter(
            "mindalle_jobs_swept_expired", "Jobs whose deadline passed in the queue.",
            registry=registry,
        )  # fmt: skip


class WorkerMetrics:
    """What a worker process measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.build = Info("mindalle_build", "Version of this server.", registry=registry)
        self.model = Info(
            "mindalle_model", "The model this worker holds: preset, licence, device, number type.",
            registry=registry,
        )  # fmt: skip
        self.up = Gauge("mindalle_worker_up", "1 while it claims jobs.", registry=registry)
        self.state = Gauge(
            "mindalle_worker_state", "1 for the state that the worker is in.",
            ["state"], registry=registry,
        )  # fmt: skip
        self.last_step_time = Gauge(
            "mindalle_worker_last_step_timestamp_seconds", "Wall time of the last step.",
            registry=registry,
        )  # fmt: skip
        self.load_seconds = Gauge(
            "mindalle_weights_load_seconds", "Time to load the weights.", registry=registry
        )
        self.warm_up_seconds = Gauge(
            "mindalle_warm_up_seconds", "Time from loaded to ready.", registry=registry
        )
        self._declare_jobs(registry)
        self._declare_batch(registry)
        self._declare_faults(registry)
        self.redis_faults = _redis_faults(registry)
        self.sweep = SweepMetrics(registry)

    def _declare_jobs(self, registry: CollectorRegistry) -> None:
        self.jobs = Counter(
            "mindalle_jobs", "Jobs that ended here, by outcome.",
            ["model", "outcome"], registry=registry,
        )  # fmt: skip
        self.images = Counter(
            "mindalle_images", "Pictures committed.", ["model"], registry=registry
        )
        self.end_to_end_seconds = Histogram(
            "mindalle_job_seconds", "From accepted to committed.",
            ["model"], buckets=_JOB_SECONDS, registry=registry,
        )  # fmt: skip
        self.queue_wait_seconds = Histogram(
            "mindalle_queue_wait_seconds", "From accepted to claimed.",
            ["model"], buckets=_JOB_SECONDS, registry=registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "mindalle_stage_seconds", "Time of one call of a stage other than a step.",
            ["model", "stage"], buckets=_STAGE_SECONDS, registry=registry,
        )  # fmt: skip

    def _declare_batch(self, registry: CollectorRegistry) -> None:
        self.step_seconds = Histogram(
            "mindalle_step_seconds", "Time of one step of the whole batch.",
            ["model"], buckets=_STAGE_SECONDS, registry=registry,
        )  # fmt: skip
        self.rows_total = Gauge("mindalle_rows", "Rows of the batch.", ["model"], registry=registry)
        self.rows_busy = Gauge("mindalle_rows_busy", "Rows in use.", ["model"], registry=registry)
        self.batch_fill = Histogram(
            "mindalle_batch_fill_ratio", "Busy rows of all rows, per step.",
            ["model"], buckets=_FILL, registry=registry,
        )  # fmt: skip
        self.batch_jobs = Histogram(
            "mindalle_batch_jobs", "Different jobs in one step.",
            ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=registry,
        )  # fmt: skip
        self.joins = Counter(
            "mindalle_batch_joins", "Jobs that entered while others were running.",
            ["model"], registry=registry,
        )  # fmt: skip
        self.codes = Counter("mindalle_codes", "Codes drawn.", ["model"], registry=registry)
        self.finishing_images = Gauge(
            "mindalle_finishing_candidates", "Candidates between their last code and their file.",
            ["model"], registry=registry,
        )  # fmt: skip

    def _declare_faults(self, registry: CollectorRegistry) -> None:
        self.rows_left_early = Counter(
            "mindalle_rows_left_early", "Rows freed before their last code, by reason.",
            ["model", "reason"], registry=registry,
        )  # fmt: skip
        self.wasted_codes = Counter(
            "mindalle_wasted_codes", "Codes drawn for rows that left early.",
            ["model"], registry=registry,
        )  # fmt: skip
        self.leases_lost_here = Counter(
            "mindalle_worker_leases_lost", "Claims that were gone when renewed or committed.",
            ["model"], registry=registry,
        )  # fmt: skip
        self.batch_crashes = Counter(
            "mindalle_batch_crashes", "Steps that raised an error.", ["model"], registry=registry
        )
        self.out_of_memory = Counter(
            "mindalle_out_of_memory", "Times the device ran out of memory.",
            ["model"], registry=registry,
        )  # fmt: skip
