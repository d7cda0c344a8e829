"""Looks on while things go wrong: leases that nobody ends, a queue that stands, codes drawn twice.

Asks Redis and each worker's /metrics, several times a second, from a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from typing import Any

import httpx
from redis import Redis
from redis.exceptions import RedisError

from service.broker.keys import Key
from tests.chaos.fleet import Fleet
from tests.chaos.troubles import Troubles
from tests.e2e.stack import Worker

_LOOK_S = 0.25
_TIMEOUT_S = 2.0
_LEASED = (Key.LEASES, Key.PARTS)
_WAITING = (Key.WAITING, Key.ISOLATED, Key.REST, Key.ALONE)
_DRAWN = 'mindalle_codes_total{model="tiny"}'
_WASTED = 'mindalle_wasted_codes_total{model="tiny"}'
_CRASHES = 'mindalle_batch_crashes_total{model="tiny"}'
_LOST = 'mindalle_worker_leases_lost_total{model="tiny"}'
_ROWS = 'mindalle_rows{model="tiny"}'


class Watch:
    """What was seen, from `with` to its end.

    `longest_held_s`: since a lease that stands was renewed; a healthy one's is below a lease, a
    dead worker's a sweep above it. `longest_stand_s`: how long jobs waited, none ran, and a worker
    was there in good health. The time while Redis was away counts for neither.
    """

    def __init__(self, fleet: Fleet, troubles: Troubles) -> None:
        self.longest_held_s = 0.0
        self.longest_stand_s = 0.0
        self.codes = Counter[str]()  # drawn; wasted, by why
        self.num_lost = 0  # leases, as their workers found out
        self._fleet, self._troubles = fleet, troubles
        self._redis = Redis(port=fleet.redis.port, socket_timeout=_TIMEOUT_S)
        self._http = httpx.Client(timeout=_TIMEOUT_S, trust_env=False)
        self._seen: dict[str, dict[str, float]] = defaultdict(dict)
        self._well_since: dict[str, float] = {}  # worker → since when it is there, untroubled
        self._redis_since = self._moved_at = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._redis.close()
        self._http.close()

    def wasted(self, why: str) -> float:
        """Part of all codes that were drawn for nothing."""
        return self.codes[why] / max(1, self.codes["drawn"])

    def _run(self) -> None:
        while not self._ending.wait(_LOOK_S):
            for worker in self._fleet.workers:
                self._look_at(worker)
            try:
                self._look_at_leases()
            except (RedisError, OSError):
                self._redis_since = self._moved_at = time.monotonic()

    def _look_at_leases(self) -> None:
        asked = time.monotonic()
        clock: Any = self._redis.time()
        held: list[Any] = []
        for key in _LEASED:
            held += self._redis.zrange(key.of("tiny"), 0, 0, withscores=True)
        now = time.monotonic()
        for _, until_ms in held:
            left_s = until_ms / 1000 - (clock[0] + clock[1] / 1e6)
            held_s = self._fleet.size.lease_s - left_s
            self.longest_held_s = max(self.longest_held_s, min(held_s, asked - self._redis_since))
        if held or not self._redis.exists(*(key.of("tiny") for key in _WAITING)):
            self._moved_at = now
        well_since = min(self._well_since.values(), default=now)
        self.longest_stand_s = max(self.longest_stand_s, now - max(self._moved_at, well_since))

    def _look_at(self, worker: Worker) -> None:
        is_troubled = self._troubles.were_within(worker, 2 * self._fleet.size.lease_s)
        samples = self._samples(worker)
        if is_troubled or not samples.get(_ROWS):
            self._well_since.pop(worker.name, None)
        else:
            self._well_since.setdefault(worker.name, time.monotonic())
        if samples:
            self._count(worker.name, samples, is_troubled=is_troubled)

    def _count(self, name: str, samples: dict[str, float], *, is_troubled: bool) -> None:
        before = self._seen[name]
        if samples.get(_DRAWN, 0) < before.get(_DRAWN, 0):
            before = {}  # another process
        new = {key: value - before.get(key, 0) for key, value in samples.items()}
        self._seen[name] = samples
        self.codes["drawn"] += int(new.get(_DRAWN, 0))
        self.num_lost += int(new.get(_LOST, 0))
        why = "by crashes" if new.get(_CRASHES) else "in trouble" if is_troubled else "otherwise"
        self.codes[why] += int(new.get(_WASTED, 0))

    def _samples(self, worker: Worker) -> dict[str, float]:
        """What of it is looked at; nothing when it does not answer."""
        try:
            text = self._http.get(f"http://127.0.0.1:{worker.port}/metrics").text
        except httpx.TransportError:
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines())
        wanted = {_DRAWN, _WASTED, _CRASHES, _LOST, _ROWS}
        return {name: float(value) for name, _, value in lines if name in wanted}
