"""The whole service as its users run it: Redis, the API and workers, each a process of its own.

Tests look at it from outside, through HTTP and /metrics.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import httpx

from tests.servers import RedisServer, free_port

_START_S = 120.0


class Process:
    """One process of the service. Its log is in a file, which a failing test shows."""

    module = "service"  # that Python runs

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: str) -> None:
        """Run `mindalle COMMAND`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, command],
                env=os.environ | self._environment,
                stdout=log,
                stderr=log,
            )

    @property
    def is_running(self) -> bool:
        """True until it has ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def peak_bytes(self) -> int:
        """The most memory that it ever had, while it runs."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; gives the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        return self._process.wait(timeout=30)


class Worker(Process):
    """A worker and its metrics."""

    def __init__(self, number: int, folder: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        own = {
            "MINDALLE_WORKER__ID": f"w{number}",
            "MINDALLE_WORKER__METRICS_PORT": str(self.port),
        }
        super().__init__(f"worker{number}", folder, environment | own)

    def metric(self, sample: str) -> float:
        """The value of one line of its /metrics; 0 when there is none."""
        return _sample(f"http://127.0.0.1:{self.port}/metrics", sample)


def _sample(url: str, sample: str) -> float:
    text = httpx.get(url, timeout=10, trust_env=False).text
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == sample:
            return float(value)
    return 0.0


@contextmanager
def serving(
    folder: Path,
    *,
    kind: str = "valkey",
    durable: bool = False,
    num_workers: int = 1,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Stack]:
    """A stack that is ready, on a Redis of its own; both are gone at the end."""
    redis = RedisServer(kind, folder, durable=durable)
    redis.start()
    stack = Stack(redis, folder, num_workers=num_workers, settings=settings)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
        redis.stop()


class Stack:
    """API and workers on a given Redis, with `tiny` unless `settings` say otherwise."""

    def __init__(
        self,
        redis: RedisServer,
        folder: Path,
        *,
        num_workers: int = 1,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.redis = redis
        self.url = f"http://127.0.0.1:{free_port()}"
        environment = {
            "OMP_NUM_THREADS": "1",
            "MINDALLE_MODEL": "tiny",
            "MINDALLE_LOG_FORMAT": "text",
            "MINDALLE_REDIS__URL": redis.url,
            "MINDALLE_API__PORT": self.url.rpartition(":")[2],
            "MINDALLE_WORKER__ROWS": "32",
            "MINDALLE_WORKER__THREADS": "1",
            "MINDALLE_WORKER__HEARTBEAT_S": "0.2",
            **settings,
        }
        self.environment = os.environ | environment
        self.api = Process("api", folder, environment)
        self.workers = [Worker(number, folder, environment) for number in range(num_workers)]
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        self.api.start("api")
        for worker in self.workers:
            worker.start("worker")
        self.until(self.is_ready)
        self.until(lambda: self.num_serving() == len(self.workers))

    def stop(self) -> None:
        """End everything."""
        self.http.close()
        for process in (self.api, *self.workers):
            if process.is_running:
                process.end(signal.SIGKILL)

    def command(self, *arguments: str) -> str:
        """What `mindalle ARGUMENTS` prints, against the same Redis."""
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        return done.stdout

    def is_ready(self) -> bool:
        """What /readyz says; False when nobody answers."""
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def num_serving(self) -> int:
        """How many workers are ready."""
        workers = self.http.get("/v1/status").json()["workers"]
        return sum(worker["state"] == "ready" for worker in workers)

    def metric(self, sample: str) -> float:
        """The value of one line of the API's /metrics."""
        return _sample(f"{self.url}/metrics", sample)

    def until(self, is_so: Callable[[], bool], seconds: float = _START_S) -> None:
        """Wait until something is so; fail with the logs when it does not come."""
        give_up = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < give_up, self.logs()
            time.sleep(0.02)

    def logs(self) -> str:
        """The last lines of all processes."""
        logs = [process.log for process in (self.api, *self.workers) if process.log.exists()]
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs)
