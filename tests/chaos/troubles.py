"""What goes wrong: processes killed or frozen, ways cut, Redis restarted; one after the other.

They come like cards of a deck, so each kind has come once before any comes again. Workers are
chosen among those that have rows in use, so that a trouble meets something.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import httpx

from tests.chaos.fleet import Fleet
from tests.e2e.stack import Process, Worker

_BUSY = 'mindalle_rows_busy{model="tiny"}'
_ROWS = 'mindalle_rows{model="tiny"}'
_LOOK_S = 0.05
_START_S = 60.0
_SEEK_S = 10.0
_SHORT, _LONG = 0.5, 2.0  # of a lease: it is kept, it is lost


class Troubles:
    """A thread of them, `pause_s` apart; begun and ended by `with`."""

    def __init__(
        self,
        fleet: Fleet,
        rng: random.Random,
        pause_s: tuple[float, float] = (8.0, 20.0),  # a worker starts in less on a quiet machine
        once: Sequence[str] = (),
    ) -> None:
        """All kinds again and again, or those of `once`, once each."""
        self.had = Counter[str]()
        self._fleet, self._rng, self._pause_s = fleet, rng, pause_s
        self._kinds: dict[str, Callable[[], None]] = {
            "worker killed": lambda: _kill(self._busy()[1]),
            "worker frozen": lambda: self._freeze(_SHORT),
            "worker frozen beyond its lease": lambda: self._freeze(_LONG),
            "worker cut off": lambda: self._cut(_SHORT),
            "worker cut off beyond its lease": lambda: self._cut(_LONG),
            "Redis killed": self._kill_redis,
            "API killed": lambda: _kill(self._fleet.api),
        }
        self._deck, self._is_endless = list(once or self._kinds), not once
        self._lately: dict[str, float] = {}
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Troubles:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    @property
    def have_all_come(self) -> bool:
        """Each kind once at least."""
        return all(self.had[kind] for kind in self._deck)

    def were_within(self, worker: Worker, seconds: float) -> bool:
        """Whether that worker, or Redis, has been in trouble lately."""
        since = max(self._lately.get(name, float("-inf")) for name in (worker.name, "redis"))
        return time.monotonic() - since < seconds

    def _run(self) -> None:
        while True:
            for kind in self._rng.sample(self._deck, len(self._deck)):
                if self._enough.wait(self._rng.uniform(*self._pause_s)):
                    return
                self._until_all_serve()
                self._kinds[kind]()
                self.had[kind] += 1
            if not self._is_endless:
                return

    def _until_all_serve(self) -> None:
        """Where workers start slowly, jobs would else be lost more often than they are tried."""
        give_up = time.monotonic() + _START_S
        while not all(_metric(worker, _ROWS) for worker in self._fleet.workers):
            if self._enough.wait(_LOOK_S) or time.monotonic() > give_up:
                return

    def _busy(self) -> tuple[int, Worker]:
        """A worker that draws; after a while any."""
        give_up = time.monotonic() + _SEEK_S
        places = list(enumerate(self._fleet.workers))
        self._rng.shuffle(places)
        while time.monotonic() < give_up and not self._enough.is_set():
            for place, worker in places:
                if _metric(worker, _BUSY):
                    return place, worker
            time.sleep(_LOOK_S)
        return places[0]

    def _freeze(self, leases: float) -> None:
        _, worker = self._busy()
        if worker.is_running:
            self._lately[worker.name] = float("inf")
            worker.send(signal.SIGSTOP)
            time.sleep(leases * self._fleet.size.lease_s)
            worker.send(signal.SIGCONT)
            self._lately[worker.name] = time.monotonic()

    def _cut(self, leases: float) -> None:
        place, worker = self._busy()
        self._lately[worker.name] = float("inf")
        with self._fleet.relays[place].parted():
            time.sleep(leases * self._fleet.size.lease_s)
        self._lately[worker.name] = time.monotonic()

    def _kill_redis(self) -> None:
        self._lately["redis"] = float("inf")
        self._fleet.redis.kill()
        time.sleep(self._rng.uniform(0.1, 1))
        self._fleet.redis.start()
        self._lately["redis"] = time.monotonic()


def _metric(worker: Worker, sample: str) -> float:
    try:
        return worker.metric(sample) if worker.is_running else 0.0
    except httpx.TransportError:  # it starts
        return 0.0


def _kill(process: Process) -> None:
    if process.is_running:
        process.send(signal.SIGKILL)
