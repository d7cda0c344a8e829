"""A service whose processes die and are started again: Redis, an API, workers of two releases.

Each worker has a way of its own to Redis, which can be cut. What goes wrong is in troubles.py.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.orders import ROWS
from tests.chaos.relay import Relay
from tests.e2e.stack import Process, Worker
from tests.servers import RedisServer, free_port
from tests.service.receiver import SECRET

_LOOK_S = 0.2


@dataclass(frozen=True)
class Size:
    """How many workers of today and of the release before parts, how long leases and steps."""

    num_workers: int = 3
    num_old: int = 0
    lease_s: float = 2.0
    step_delay_s: float = 0.01


class OldWorker(Worker):
    """One of the release before parts."""

    module = "tests.chaos.old_worker"


class Fleet:
    """All processes, and a supervisor that starts again what has ended."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.size = size
        self.redis = RedisServer("valkey", folder, durable=True)
        self.redis.start()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.hook_port = free_port()
        self.api = Process("api", folder, self._environment(self.redis.port))
        self.workers: list[Worker] = []
        self.relays: list[Relay] = []
        for number in range(size.num_workers + size.num_old):
            relay = Relay(self.redis.port)
            kind = Worker if number < size.num_workers else OldWorker
            self.workers.append(kind(number, folder, self._environment(relay.port)))
            self.relays.append(relay)
        self._ending = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise)

    def _environment(self, redis_port: int) -> dict[str, str]:
        return {
            "OMP_NUM_THREADS": "1",
            "MINDALLE_MODEL": "tiny",
            "MINDALLE_REDIS__URL": f"redis://127.0.0.1:{redis_port}/0",
            "MINDALLE_API__PORT": self.url.rpartition(":")[2],
            "MINDALLE_API__DEFAULT_DEADLINE_S": "900",
            "MINDALLE_WORKER__ROWS": str(ROWS),
            "MINDALLE_WORKER__THREADS": "1",
            "MINDALLE_WORKER__HEARTBEAT_S": "0.2",
            "MINDALLE_QUEUE__LEASE_S": str(self.size.lease_s),
            "MINDALLE_QUEUE__SWEEP_INTERVAL_S": "0.2",
            "MINDALLE_QUEUE__MAX_ATTEMPTS": "5",
            "MINDALLE_QUEUE__MAX_DEPTH": "1000000",
            "MINDALLE_QUEUE__RESULT_TTL_S": "86400",
            "MINDALLE_WEBHOOKS__SECRETS": SECRET,
            "MINDALLE_WEBHOOKS__ALLOW_HTTP": "true",
            "MINDALLE_WEBHOOKS__ALLOWED": "127.0.0.1",
            "MINDALLE_WEBHOOKS__PORTS": str(self.hook_port),
            "MINDALLE_WEBHOOKS__TIMEOUT_S": "2",
            "MINDALLE_WEBHOOKS__RETRY_S": "0.1",
            "MINDALLE_TESTING__STEP_DELAY_S": str(self.size.step_delay_s),
            "MINDALLE_TESTING__POISON_PROMPT": "poison",
            "MINDALLE_TESTING__KILL_PROMPT": "deadly",
        }

    def start(self) -> None:
        """Start all of it; what dies from here on is started again."""
        self.api.start("api")
        for worker in self.workers:
            worker.start("worker")
        self._supervisor.start()

    def stop(self) -> None:
        """End all of it."""
        self._ending.set()
        self._supervisor.join()
        for process in (self.api, *self.workers):
            if process.is_running:
                process.end(signal.SIGKILL)
        for relay in self.relays:
            relay.stop()
        self.redis.stop()

    def _supervise(self) -> None:
        while not self._ending.wait(_LOOK_S):
            for process, command in ((self.api, "api"), *((w, "worker") for w in self.workers)):
                if not process.is_running:
                    process.start(command)
