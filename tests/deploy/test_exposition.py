from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service.metrics import ApiMetrics, WorkerMetrics
from service.worker.signs.meter import Meter


def api() -> bytes:
    metrics = ApiMetrics(CollectorRegistry())
    metrics.build.info({"version": "1"})
    metrics.requests.labels("GET", "/v1/models", "200").inc()
    metrics.request_seconds.labels("GET", "/v1/models").observe(0.1)
    metrics.rejected.labels("tiny", "queue_full").inc()
    return generate_latest(metrics.registry)


def worker() -> bytes:
    metrics = WorkerMetrics(CollectorRegistry())
    metrics.build.info({"version": "1"})
    Meter(metrics, "tiny")
    return generate_latest(metrics.registry)


@pytest.mark.parametrize("process", [api, worker])
def test_promtool_finds_nothing_wrong_with_the_metrics(process: Callable[[], bytes]) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is needed for these tests: apt-get install prometheus"

    run = subprocess.run(
        [program, "check", "metrics"], input=process(), capture_output=True, check=False, timeout=30
    )

    assert run.stdout + run.stderr == b""
    assert run.returncode == 0
