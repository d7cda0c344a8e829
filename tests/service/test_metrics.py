from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service.metrics import ApiMetrics, WorkerMetrics

CLOSED_LABELS = {"model", "stage", "state", "outcome", "reason", "method", "route", "code", "le"}
CLOSED_LABELS |= {"preset", "licence", "device", "dtype"}  # of the models that a worker holds


@pytest.mark.parametrize("declare", [ApiMetrics, WorkerMetrics])
def test_names_units_and_labels_follow_the_rules(
    declare: type[ApiMetrics] | type[WorkerMetrics],
) -> None:
    registry = CollectorRegistry()
    declare(registry)
    families = list(registry.collect())
    assert len(families) > 15
    for family in families:
        assert re.fullmatch(r"mindalle_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|mb|s|percent)$", family.name)
        if family.type == "histogram":
            assert re.search(r"_(seconds|ratio|jobs)$", family.name)


def test_labels_come_from_closed_sets() -> None:
    for declare in (ApiMetrics, WorkerMetrics):
        metrics = declare(CollectorRegistry())
        for metric in vars(metrics).values():
            assert set(getattr(metric, "_labelnames", ())) <= CLOSED_LABELS


def test_the_two_processes_share_only_what_both_measure() -> None:
    names = []
    for declare in (ApiMetrics, WorkerMetrics):
        registry = CollectorRegistry()
        declare(registry)
        names.append({family.name for family in registry.collect()})
    shared = names[0] & names[1]
    assert shared == {
        "mindalle_build", "mindalle_lease_losses", "mindalle_redeliveries",
        "mindalle_jobs_dead_lettered", "mindalle_jobs_swept_expired", "mindalle_redis_faults",
        "mindalle_results_faults",
    }  # fmt: skip


def test_counters_show_with_their_labels() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.jobs.labels("tiny", "succeeded").inc()
    metrics.stage_seconds.labels("tiny", "prefill").observe(0.02)
    text = generate_latest(registry).decode()
    assert 'mindalle_jobs_total{model="tiny",outcome="succeeded"} 1.0' in text
    assert 'mindalle_stage_seconds_bucket{le="0.025",model="tiny",stage="prefill"} 1.0' in text
