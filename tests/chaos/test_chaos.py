"""Everything goes wrong at once: each accepted job ends once, with the bytes of an undisturbed run.

`pytest -m chaos tests/chaos` sends 20,000 jobs; CHAOS_JOBS, CHAOS_SEED and CHAOS_REPORT (a file)
change how many, in which order, and where the report goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from service.broker.keys import Key
from tests.chaos.callers import POISONS, Callers, Ended, Order
from tests.chaos.fleet import Fleet

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

NUM_JOBS = int(os.environ.get("CHAOS_JOBS", "20000"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
NUM_RECIPES = 40
NUM_WORKERS = 3
AT_ONCE = 10
OF_QUEUE = (
    Key.WAITING, Key.ISOLATED, Key.ARRIVED, Key.LEASES, Key.REST, Key.ALONE, Key.PARTS, Key.LIVE,
    Key.LOAD, Key.SHARES,
)  # fmt: skip


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    running = Fleet(tmp_path, NUM_WORKERS)
    running.start()
    yield running
    running.stop()


def undisturbed(fleet: Fleet) -> dict[int, str]:
    """Digests of all recipes' pictures."""
    orders = [Order.of(number, _Recipe(number), NUM_RECIPES) for number in range(NUM_RECIPES)]
    ended = asyncio.run(Callers(fleet.url, "undisturbed", AT_ONCE).send(orders))
    assert {end.status for end in ended} == {"succeeded"}
    return {end.order.recipe: end.pictures for end in ended}


class _Recipe(random.Random):
    """Chooses one recipe, and nothing that is seldom."""

    def __init__(self, number: int) -> None:
        super().__init__(0)
        self._number = number

    def randrange(self, *_: Any, **__: Any) -> int:
        return self._number

    def random(self) -> float:
        return 1.0


def disturbed(fleet: Fleet) -> list[Ended]:
    """All jobs, while one thing after the other goes wrong."""
    rng, enough = random.Random(SEED), threading.Event()
    orders = [Order.of(number, rng, NUM_RECIPES) for number in range(NUM_JOBS)]
    troubling = threading.Thread(target=fleet.trouble, args=(random.Random(SEED), enough))
    troubling.start()
    try:
        return asyncio.run(Callers(fleet.url, "disturbed", AT_ONCE).send(orders))
    finally:
        enough.set()
        troubling.join()


def faults_of(ended: list[Ended], expected: dict[int, str]) -> dict[str, list[str]]:
    """Jobs of which something is not as it must be, by what that is."""
    return {
        "not ended once": [e.job_id for e in ended if e.ends != [e.status]],
        "another end": [e.job_id for e in ended if e.status not in _may_end(e.order)],
        "other bytes": [
            e.job_id
            for e in ended
            if e.status == "succeeded" and e.pictures != expected[e.order.recipe]
        ],
        "pictures of no success": [
            e.job_id for e in ended if e.status != "succeeded" and e.pictures
        ],
        "doubled": [name for name, n in Counter(e.job_id for e in ended).items() if n > 1],
    }


def _may_end(order: Order) -> set[str]:
    end = "failed" if order.prompt in POISONS else "succeeded"
    return {end, "cancelled"} if order.is_cancelled else {end}


def left_over(fleet: Fleet) -> dict[str, int]:
    """Keys of the queue that outlived all jobs, and any that lives for ever."""
    with Redis(port=fleet.redis.port) as redis:
        names: Any = redis.keys("*")
        immortal = sum(redis.ttl(name) == -1 for name in names)
        found = {key.name: int(redis.exists(key.of("tiny"))) for key in OF_QUEUE}
    return {name: count for name, count in found.items() if count} | (
        {"immortal": immortal} if immortal else {}
    )


def test_each_job_ends_once_whatever_happens(fleet: Fleet, tmp_path: Path) -> None:
    expected = undisturbed(fleet)
    ended = disturbed(fleet)
    faults = faults_of(ended, expected)
    seconds = sorted(end.seconds for end in ended)
    report = {
        "jobs": len(ended),
        "troubles": dict(fleet.troubles),
        "ends": Counter(end.status for end in ended),
        "attempts": Counter(end.attempts for end in ended),
        "seconds": {"median": seconds[len(seconds) // 2], "longest": seconds[-1]},
        "faults": {name: len(jobs) for name, jobs in faults.items()},
        "left_over": left_over(fleet),
    }
    path = Path(os.environ.get("CHAOS_REPORT", tmp_path / "chaos.json"))
    path.write_text(json.dumps(report, indent=2))
    assert fleet.troubles
    assert len(ended) == NUM_JOBS
    assert not any(faults.values()), faults
    assert not report["left_over"], report
