"""A service whose processes are killed, frozen and cut off; a supervisor starts them again."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from tests.chaos.relay import Relay
from tests.e2e.stack import Process, Worker
from tests.servers import RedisServer, free_port

LEASE_S = 2.0
ROWS = 8
_PAUSE_S = (8.0, 20.0)  # between two troubles: a worker starts in less, on a quiet machine
_LOOK_S = 0.2


class Fleet:
    """Redis with its append-only file, an API and workers, each with a way of its own to Redis."""

    def __init__(self, folder: Path, num_workers: int) -> None:
        self.redis = RedisServer("valkey", folder, durable=True)
        self.redis.start()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.troubles = Counter[str]()
        self._relays = [Relay(self.redis.port) for _ in range(num_workers)]
        self.api = Process("api", folder, self._environment(self.redis.port))
        self.workers = [
            Worker(number, folder, self._environment(relay.port))
            for number, relay in enumerate(self._relays)
        ]
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
            "MINDALLE_QUEUE__LEASE_S": str(LEASE_S),
            "MINDALLE_QUEUE__SWEEP_INTERVAL_S": "0.2",
            "MINDALLE_QUEUE__MAX_ATTEMPTS": "5",
            "MINDALLE_QUEUE__MAX_DEPTH": "1000000",
            "MINDALLE_TESTING__STEP_DELAY_S": "0.01",
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
        for relay in self._relays:
            relay.stop()
        self.redis.stop()

    def _supervise(self) -> None:
        while not self._ending.wait(_LOOK_S):
            for process, command in ((self.api, "api"), *((w, "worker") for w in self.workers)):
                if not process.is_running:
                    process.start(command)

    def trouble(self, rng: random.Random, until: threading.Event) -> None:
        """One thing after the other goes wrong, until there is enough of it."""
        kinds = [self._kill_worker, self._freeze_worker, self._part_worker]
        kinds += [self._kill_redis, self._kill_api]
        while not until.wait(rng.uniform(*_PAUSE_S)):
            kind = rng.choice(kinds)
            kind(rng)
            self.troubles[kind.__name__.strip("_")] += 1

    def _kill_worker(self, rng: random.Random) -> None:
        _kill(rng.choice(self.workers))

    def _kill_api(self, rng: random.Random) -> None:
        del rng  # there is one
        _kill(self.api)

    def _freeze_worker(self, rng: random.Random) -> None:
        worker = rng.choice(self.workers)
        if worker.is_running:
            worker.send(signal.SIGSTOP)
            time.sleep(rng.uniform(0.5, 2) * LEASE_S)
            worker.send(signal.SIGCONT)

    def _part_worker(self, rng: random.Random) -> None:
        with rng.choice(self._relays).parted():
            time.sleep(rng.uniform(0.5, 2) * LEASE_S)

    def _kill_redis(self, rng: random.Random) -> None:
        self.redis.kill()
        time.sleep(rng.uniform(0.1, 1))
        self.redis.start()


def _kill(process: Process) -> None:
    if process.is_running:
        process.send(signal.SIGKILL)
