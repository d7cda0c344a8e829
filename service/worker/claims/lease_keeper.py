"""Renews the leases of what makes progress, and of nothing else; lets go of what is gone.

A step that hangs moves no counter, so its jobs lose their lease and another worker takes them.
Knows no model: it looks at counters.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from service.broker.leases import Leases, LeaseState
from service.errors import QueueUnavailable
from service.jobs import Progress
from service.worker.claims.holdings import Held, Holdings

_PARTS = 20  # progress events of one job at most

_log = logging.getLogger(__name__)

Counters = Callable[[], tuple[int, int]]  # moves of the engine, moves of the finishing thread
Remove = Callable[[str, LeaseState], None]


class LeaseKeeper:
    """Asks `counters` and `progress` (codes drawn by run); `remove` takes a run out."""

    def __init__(
        self,
        leases: Leases,
        holdings: Holdings,
        *,
        counters: Counters,
        progress: Callable[[], Mapping[str, int]],
        remove: Remove,
    ) -> None:
        self._leases = leases
        self._holdings = holdings
        self._counters = counters
        self._progress = progress
        self._remove = remove
        self._last = (-1, -1)
        self._told: dict[str, int] = {}  # part of the progress that was published, by run

    async def run(self, interval_s: float) -> None:
        """Renew for ever."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.renew()
            except QueueUnavailable:
                _log.debug("no renewal: redis is away")

    async def renew(self) -> None:
        """Renew once."""
        counters = self._counters()
        decodes, finishes = (now != then for now, then in zip(counters, self._last, strict=True))
        moves = {"decode": decodes, "finish": finishes, "commit": True}
        held = {run: it for run, it in self._holdings.all().items() if moves[it.stage]}
        drawn = self._progress()
        progress = {run: self._at(run, it, drawn) for run, it in held.items()}
        states = await self._leases.renew(
            [it.claim for it in held.values()],
            {it.claim.job.id: progress[run] for run, it in held.items()},
        )
        self._last = counters
        for run_id, it in held.items():
            state = states[it.claim.job.id]
            if state is LeaseState.HELD:
                await self._tell(run_id, it, progress[run_id])
            else:
                self._let_go(run_id, state)
        self._told = {run: part for run, part in self._told.items() if run in self._holdings.all()}

    def _at(self, run_id: str, held: Held, drawn: Mapping[str, int]) -> Progress:
        total = held.codes_total
        if held.stage != "decode":
            return Progress(total, total, "pixels")
        done = drawn.get(run_id, 0)
        return Progress(done, total, "decode" if done else "prefill")

    async def _tell(self, run_id: str, held: Held, at: Progress) -> None:
        part = _PARTS * at.codes_done // at.codes_total
        if part > self._told.get(run_id, 0) and held.stage != "commit":
            self._told[run_id] = part
            data = {"codes_done": at.codes_done, "codes_total": at.codes_total, "stage": at.stage}
            await self._leases.publish(held.claim, "progress", data)

    def _let_go(self, run_id: str, state: LeaseState) -> None:
        held = self._holdings.get(run_id)
        if held is None or held.stage == "commit":
            return  # it is being delivered: that tells whether the claim still held
        self._holdings.drop(run_id)
        _log.info("a claim is gone", extra={"run_id": run_id, "state": state.value})
        self._remove(run_id, state)
