"""Rolling restarts of the API and of the worker under load, ten times: no request fails.

As Kubernetes does it with the chart's strategy: a new process becomes ready, the old one leaves the
balancer, gets SIGTERM, drains and ends. The callers use the project's own client.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.client import Client
from tests.e2e.balancer import Balancer
from tests.e2e.stack import Process
from tests.servers import RedisServer, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NUM_RESTARTS = 10
NUM_CALLERS = 4
_READY_S = 90.0


class Pod(Process):
    """An API or worker process with a port that says whether it is ready."""

    def __init__(self, kind: str, number: int, folder: Path, environment: dict[str, str]) -> None:
        self.kind = kind
        self.port = free_port()
        own = {
            "MINDALLE_API__PORT": str(self.port),
            "MINDALLE_WORKER__METRICS_PORT": str(self.port),
            "MINDALLE_WORKER__ID": f"w{number}",
        }
        super().__init__(f"{kind}{number}", folder, environment | own)

    def start_up(self) -> None:
        """Start it and wait until it is ready."""
        self.start(self.kind)
        give_up = time.monotonic() + _READY_S
        while not self._is_ready():
            assert self.is_running, self.log.read_text()[-3000:]
            assert time.monotonic() < give_up, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.port}/readyz"
            return httpx.get(url, trust_env=False, timeout=10).is_success
        except httpx.TransportError:
            return False


class Load:
    """Callers that ask for one picture after the other, and remember what became of it."""

    def __init__(self, url: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.pictures: dict[int, set[bytes]] = {seed: set() for seed in range(NUM_CALLERS)}
        self._url = url
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(seed,)) for seed in range(NUM_CALLERS)
        ]

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the last calls end."""
        self._ending.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(60)

    def _call(self, seed: int) -> None:
        with Client(self._url) as client:
            while not self._ending.is_set():
                try:
                    if seed % 2:
                        (image,) = client.generate("a red heart", seed=seed).images
                        data = image.data
                    else:
                        job = client.submit("a red heart", seed=seed)
                        assert client.wait(job.id).status == "succeeded"
                        data = client.image(job.id)
                except Exception as error:
                    self.outcomes[repr(error)] += 1
                else:
                    self.outcomes["ok"] += 1
                    self.pictures[seed].add(data)


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    running = Balancer()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    valkey = RedisServer("valkey", tmp_path)
    valkey.start()
    yield {
        "OMP_NUM_THREADS": "1",
        "MINDALLE_MODEL": "tiny",
        "MINDALLE_REDIS__URL": valkey.url,
        "MINDALLE_WORKER__ROWS": "16",
        "MINDALLE_WORKER__THREADS": "1",
        "MINDALLE_WORKER__HEARTBEAT_S": "0.2",
        "MINDALLE_TESTING__STEP_DELAY_S": "0.02",
    }
    valkey.stop()


def test_no_request_fails_while_everything_is_replaced_ten_times(
    balancer: Balancer, environment: dict[str, str], tmp_path: Path
) -> None:
    pods: list[Pod] = []

    def started(number: int) -> tuple[Pod, Pod]:
        """A new worker and a new API process, both ready."""
        pair = [Pod(kind, number, tmp_path, environment) for kind in ("worker", "api")]
        pods.extend(pair)
        with ThreadPoolExecutor(2) as starting:
            list(starting.map(Pod.start_up, pair))
        return pair[0], pair[1]

    load = Load(f"http://127.0.0.1:{balancer.port}")
    try:
        worker, api = started(0)
        balancer.backends = (api.port,)
        load.start()
        for number in range(1, NUM_RESTARTS + 1):
            old = (worker, api)
            worker, api = started(number)
            balancer.backends = (api.port,)
            for pod in old:
                assert pod.end(signal.SIGTERM) == 0, pod.log.read_text()[-3000:]
            assert set(load.outcomes) <= {"ok"}, load.outcomes
        load.stop()
    finally:
        load.stop()
        for pod in pods:
            if pod.is_running:
                pod.end(signal.SIGKILL)

    assert load.outcomes["ok"] > 3 * NUM_RESTARTS
    assert set(load.outcomes) == {"ok"}, load.outcomes
    assert all(len(pictures) == 1 for pictures in load.pictures.values())
