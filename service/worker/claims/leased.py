"""The one set of runs that this worker holds a lease of. Whoever lets a run go takes it out here.

Lives on the event loop's thread. Knows no Redis and no model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from service.broker.claims import Claim
from service.worker.run import Run
from service.worker.signs.journal import Journal
from service.worker.threads import call_on

_LOOK_S = 0.2


class Leased:
    """All of them, in the order they came. Make it on the event loop."""

    def __init__(self, journal: Journal, *, codes_per_candidate: int) -> None:
        self._journal = journal
        self._codes_per_candidate = codes_per_candidate
        self._runs: dict[Run, None] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs))

    def add(self, claim: Claim) -> Run:
        """Make a claim a run, of all candidates that it begins with."""
        now = time.monotonic()
        run = Run(
            claim,
            candidates=claim.candidates,
            codes_per_candidate=self._codes_per_candidate,
            claimed_at=now,
            deadline=now + claim.remaining_s,
            trace=self._journal.claimed(claim),
        )
        self._runs[run] = None
        return run

    def let_go(self, run: Run, outcome: str) -> bool:
        """It is not ours any more, or has ended; false when it was let go before."""
        if not run.is_leased:
            return False
        run.is_leased = False
        del self._runs[run]
        self._journal.let_go(run, outcome)
        self._changed.set()
        return True

    @property
    def is_working(self) -> bool:
        """True while something is drawn or made; what only waits for Redis does not count."""
        return any(run.phase != "commit" for run in self._runs)

    @property
    def num_undrawn(self) -> int:
        """Candidates that need a row, or have one."""
        return sum(run.num_undrawn for run in self._runs)

    @property
    def num_candidates(self) -> int:
        """Candidates of all runs, those whose pictures are being made included."""
        return sum(len(run.candidates) for run in self._runs)

    @property
    def has_isolated(self) -> bool:
        """True while a job runs that must run alone."""
        return any(run.claim.is_isolated for run in self._runs)

    def ring(self) -> None:
        """Wake whoever waits: rows became free, or the worker ends. From any thread."""
        call_on(self._loop, self._changed.set)

    async def wait(self, timeout_s: float) -> None:
        """Until something changes, at most so long."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return

    async def wait_empty(self, timeout_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Until nothing is held or `until` is true, at most so long."""
        give_up = time.monotonic() + timeout_s
        while self._runs and not until():
            left = give_up - time.monotonic()
            if left <= 0:
                return
            await self.wait(min(left, _LOOK_S))
