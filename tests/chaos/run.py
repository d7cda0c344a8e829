"""One run: undisturbed pictures first, then all orders while things go wrong, then what is amiss.

`Findings` holds what was seen, and says which of it is a fault, the same for every run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from redis import Redis

from service.broker.keys import Key
from tests.chaos.callers import Callers, Ended
from tests.chaos.fleet import Fleet
from tests.chaos.hooks import Hooks
from tests.chaos.orders import Mix, Order, one_of_each, orders
from tests.chaos.troubles import Troubles
from tests.chaos.watch import Watch
from tests.service.receiver import receiving

_OF_QUEUE = (
    Key.WAITING, Key.ISOLATED, Key.ARRIVED, Key.LEASES, Key.REST, Key.ALONE, Key.PARTS, Key.LIVE,
    Key.LOAD, Key.SHARES,
)  # fmt: skip
_MOST_WASTED = 0.03
_CALM_S = 10.0


@dataclass(frozen=True)
class Findings:
    """Of one run."""

    ended: list[Ended]
    num_left: int
    left_ends: list[tuple[str, list[str]]]  # of jobs whose callers left: status, ends told
    expected: dict[int, str]  # digest of each recipe's pictures
    untold: list[str]
    num_messages: int
    left_over: dict[str, int]
    troubles: Troubles
    watch: Watch

    def faults(self) -> dict[str, list[str]]:
        """Jobs of which something is not as it must be, by what that is."""
        ended = self.ended
        named = Counter(end.job_id for end in ended)
        return {
            "not ended once": [f"{e.job_id} {e.ends}" for e in ended if e.ends != [e.status]],
            "left and not ended once": [str(e) for e in self.left_ends if e[1] != [e[0]]],
            "another end": [e.job_id for e in ended if e.status not in e.order.may_end],
            "other bytes": [e.job_id for e in ended if self._has_other_bytes(e)],
            "doubled": [name for name, num in named.items() if num > 1],
            "not told": self.untold,
            "left over": [f"{key} {num}" for key, num in self.left_over.items()],
        }

    def missed_bars(self, lease_s: float) -> dict[str, list[str]]:
        """Times and shares that are too large; they are so on a machine that is too busy, too."""
        watch = self.watch
        return {
            "held for two leases": _above(watch.longest_held_s, 2 * lease_s),
            "stood for two leases": _above(watch.longest_stand_s, 2 * lease_s),
            "wasted": _above(watch.wasted("otherwise"), _MOST_WASTED),
        }

    def _has_other_bytes(self, end: Ended) -> bool:
        pictures = self.expected[end.order.recipe] if end.status == "succeeded" else ""
        return end.pictures != pictures

    def report(self, lease_s: float) -> dict[str, Any]:
        """For people and for JSON."""
        seconds = sorted(end.seconds for end in self.ended)
        watch, amiss = self.watch, self.faults() | self.missed_bars(lease_s)
        return {
            "jobs": len(self.ended),
            "left": self.num_left,
            "troubles": dict(self.troubles.had),
            "ends": Counter(end.status for end in self.ended),
            "ends_of_left": Counter(status for status, _ in self.left_ends),
            "attempts": Counter(end.attempts for end in self.ended),
            "seconds": {"median": seconds[len(seconds) // 2], "longest": seconds[-1]},
            "webhooks": self.num_messages,
            "longest_held_s": watch.longest_held_s,
            "longest_stand_s": watch.longest_stand_s,
            "leases_lost": watch.num_lost,
            "codes": dict(watch.codes),
            "faults": {name: len(found) for name, found in amiss.items()},
        }


def _above(value: float, limit: float) -> list[str]:
    return [f"{value:.3f} > {limit:.3f}"] if value > limit else []


def run(fleet: Fleet, troubles: Troubles, num_jobs: int, seed: int, mix: Mix) -> Findings:
    """So many jobs at least: they go on until each kind of trouble has come."""
    undisturbed = asyncio.run(Callers(fleet.url, "undisturbed").send(one_of_each()))
    assert {end.status for end in undisturbed} == {"succeeded"}
    rng = random.Random(seed)

    def go_on(order: Order) -> bool:
        return order.number < num_jobs or not troubles.have_all_come

    wanted = takewhile(go_on, orders(rng, mix))
    with Watch(fleet, troubles) as watch:
        callers, hooks, untold = asyncio.run(_disturbed(fleet, troubles, wanted, rng))
        known = {end.job_id for end in undisturbed + callers.ended}
        left = sorted(_jobs(fleet) - known)
        left_ends = asyncio.run(Callers(fleet.url, "left").ends_of(left))
    return Findings(
        callers.ended,
        callers.num_left,
        left_ends,
        {end.order.recipe: end.pictures for end in undisturbed},
        untold,
        hooks.num_messages,
        _left_over(fleet),
        troubles,
        watch,
    )


async def _disturbed(
    fleet: Fleet, troubles: Troubles, wanted: Iterator[Order], rng: random.Random
) -> tuple[Callers, Hooks, list[str]]:
    """Callers and receiver when all jobs and messages have come to their end; who was not told."""
    hooks = Hooks(rng)
    callers = Callers(fleet.url, "disturbed", f"http://127.0.0.1:{fleet.hook_port}/told")
    async with receiving(hooks.answer, port=fleet.hook_port):
        with troubles:
            await callers.send(wanted)
        return callers, hooks, await hooks.missing(callers.ended)


def _jobs(fleet: Fleet) -> set[str]:
    with Redis(port=fleet.redis.port) as redis:
        names: Any = redis.keys(Key.JOB.of("*"))
    return {name.decode().rpartition(":")[2] for name in names}


def _left_over(fleet: Fleet) -> dict[str, int]:
    """Keys of the queue that outlived all jobs, and any that lives for ever."""
    give_up = time.monotonic() + _CALM_S
    with Redis(port=fleet.redis.port) as redis:
        while (found := _of_queue(redis)) and time.monotonic() < give_up:
            time.sleep(0.1)
    return found


def _of_queue(redis: Redis) -> dict[str, int]:
    names: Any = redis.keys("*")
    found = {key.name: int(redis.exists(key.of("tiny"))) for key in _OF_QUEUE}
    found["immortal"] = sum(redis.ttl(name) == -1 for name in names)
    return {name: count for name, count in found.items() if count}
