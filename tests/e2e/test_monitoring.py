"""A real Prometheus looks at a real `mindalle serve`: targets, rules, the whole dashboard."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.deploy.names import dashboard_expressions, rule_expressions
from tests.e2e.prometheus import Prometheus
from tests.servers import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PATH = "/v1/images/generations"
REFUSED = 'mindalle_jobs_rejected_total{model="mindalle-1.3b",reason="no_worker"}'


class Served:
    """`mindalle serve` on free ports, with `tiny`."""

    def __init__(self, folder: Path) -> None:
        self.ports = {"mindalle-api": free_port(), "mindalle-worker": free_port()}
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.ports['mindalle-api']}", trust_env=False, timeout=60
        )
        self._log = folder / "serve.log"
        self._environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "MINDALLE_MODEL": "tiny",
            "MINDALLE_DATA_DIR": str(folder),
            "MINDALLE_API__PORT": str(self.ports["mindalle-api"]),
            "MINDALLE_WORKER__METRICS_PORT": str(self.ports["mindalle-worker"]),
            "MINDALLE_WORKER__ROWS": "16",
            "MINDALLE_TESTING__STEP_DELAY_S": "0.01",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "service", "serve"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        give_up = time.monotonic() + 90
        while not self._is_ready():
            assert time.monotonic() < give_up, self._log.read_text()[-3000:]
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self.http.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("served"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def prometheus(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Started on the fresh service, then the service gets a mixed load."""
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), served.ports)
    running.start()
    running.until(lambda: set(running.health().values()) == {"up"})
    load(served)
    running.until(lambda: [one["value"][1] for one in running.query(REFUSED)] == ["2"])
    time.sleep(2.5)  # two more scrapes and an evaluation
    yield running
    running.stop()


def load(served: Served) -> None:
    """Good jobs, refused ones, wrong ones."""

    def ask(number: int) -> int:
        body = {"prompt": f"heart {number}", "num_candidates": 4}
        return served.http.post(PATH, json=body).status_code

    for _ in range(3):  # counters must grow between scrapes
        with ThreadPoolExecutor(8) as callers:
            assert set(callers.map(ask, range(8))) == {200}
    refused = served.http.post(PATH, json={"prompt": "a", "model": "mindalle-1.3b"})
    assert refused.status_code == 503
    time.sleep(1.2)
    served.http.post(PATH, json={"prompt": "a", "model": "mindalle-1.3b"})
    assert served.http.post(PATH, json={"prompt": 3}).status_code == 400


def test_both_processes_are_scraped(prometheus: Prometheus) -> None:
    assert prometheus.health() == {"mindalle-api": "up", "mindalle-worker": "up"}


def test_every_rule_is_evaluated_without_error(prometheus: Prometheus) -> None:
    prometheus.until(lambda: all(r["health"] != "unknown" for r in prometheus.rules().values()))
    rules = prometheus.rules()

    assert set(rules) == {name for name, _ in rule_expressions()}
    assert {
        name: rule.get("lastError") for name, rule in rules.items() if rule["health"] != "ok"
    } == {}


def test_no_alert_fires_for_a_service_that_works(prometheus: Prometheus) -> None:
    firing = [rule["name"] for rule in prometheus.rules().values() if rule.get("state") == "firing"]

    assert firing == []


def test_recording_rules_make_series(prometheus: Prometheus) -> None:
    for name, _ in rule_expressions():
        if name.startswith("mindalle:"):
            prometheus.until(lambda name=name: bool(prometheus.query(name)))  # type: ignore[misc]  # bound now


@pytest.mark.parametrize(("title", "expression"), list(dashboard_expressions()))
def test_every_query_of_the_dashboard_has_data(
    prometheus: Prometheus, title: str, expression: str
) -> None:
    filled = expression.replace("$model", ".*").replace("$__rate_interval", "30s")

    prometheus.until(lambda: bool(prometheus.query(filled)))


def test_the_queue_is_empty_after_the_load(prometheus: Prometheus) -> None:
    def value(expression: str) -> float:
        (sample,) = prometheus.query(expression)
        return float(sample["value"][1])

    assert value('mindalle_queue_jobs{model="tiny"}') == 0
    assert value('mindalle_queue_oldest_age_seconds{model="tiny"}') == 0
    assert value('mindalle_candidates_in_flight{model="tiny"}') == 0
    assert value('mindalle_jobs_total{model="tiny",outcome="succeeded"}') == 24
    assert value('mindalle_jobs_admitted_total{model="tiny"}') == 24
    assert value(REFUSED) == 2


@pytest.mark.parametrize("job", ["mindalle-api", "mindalle-worker"])
def test_promtool_accepts_what_the_processes_show(served: Served, job: str) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is needed for these tests: apt-get install prometheus"
    shown = httpx.get(f"http://127.0.0.1:{served.ports[job]}/metrics", trust_env=False).content

    run = subprocess.run(
        [program, "check", "metrics"], input=shown, capture_output=True, check=False, timeout=30
    )

    assert run.stdout + run.stderr == b""
    assert run.returncode == 0
