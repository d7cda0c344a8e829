"""Renews the leases of what makes progress, and of nothing else; lets go of what is gone.

A step that hangs moves no counter, so its jobs lose their lease and another worker takes them.
Knows no model: it looks at counters.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from service.broker.claims import LeaseState
from service.broker.leases import Leases
from service.errors import QueueUnavailable
from service.jobs import STAGE_NAMES, Phase, Progress
from service.worker.claims.leased import Leased
from service.worker.run import DRAWING_PHASES, LeaveReason, Run, TakenOut
from service.worker.signs.meter import Meter

_MAX_TOLD = 20  # progress events of one job at most; renew.lua has it of jobs in parts
_REASONS: dict[LeaseState, LeaveReason] = {
    LeaseState.CANCELLED: "cancelled",
    LeaseState.EXPIRED: "expired",
    LeaseState.LOST: "lost",
    LeaseState.OVER: "cancelled",
}

_log = logging.getLogger(__name__)


class LeaseKeeper:
    """Keeps what is `leased`. `moves` counts the signs of progress of drawing and of pictures."""

    def __init__(
        self,
        leases: Leases,
        leased: Leased,
        meter: Meter,
        moves: Callable[[], tuple[int, int]],
    ) -> None:
        self._leases = leases
        self._leased = leased
        self._meter = meter
        self._moves = moves
        self._last = (-1, -1)

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
        moves = self._moves()
        is_drawing, is_making = (now != then for now, then in zip(moves, self._last, strict=True))
        runs = [
            run
            for run in self._leased
            if run.phase == "commit" or (is_drawing if run.phase in DRAWING_PHASES else is_making)
        ]
        progress = {run: _progress(run) for run in runs}
        states = await self._leases.renew(
            [run.claim for run in runs], {run.id: at for run, at in progress.items()}
        )
        self._last = moves
        for run, at in progress.items():
            state = states[run.id]
            if state is LeaseState.HELD:
                await self._tell(run, at)
            elif run.phase != "commit":  # else it is being delivered, which tells whether it held
                self._let_go(run, state)

    async def watch_cancellations(self) -> None:
        """Let go of what callers cancel, for ever."""
        async for job_id in self._leases.cancellations():
            for run in self._leased:
                if run.job.id == job_id:
                    self._let_go(run, LeaseState.CANCELLED)

    async def _tell(self, run: Run, at: Progress) -> None:
        if run.claim.part is not None:  # then the renewal told that of all parts
            return
        told = _MAX_TOLD * at.codes_done // at.codes_total
        if told > run.told_progress and run.phase != "commit":
            run.told_progress = told
            data = {"codes_done": at.codes_done, "codes_total": at.codes_total, "stage": at.stage}
            await self._leases.publish(run.claim, "progress", data)

    def _let_go(self, run: Run, state: LeaseState) -> None:
        run.close(TakenOut(_REASONS[state]))
        if not self._leased.let_go(run, state.value):
            return
        if state is LeaseState.LOST:
            self._meter.lost()
        _log.info("a claim is gone", extra={"run_id": run.id, "state": state.value})


def _progress(run: Run) -> Progress:
    shown: Phase = run.phase if run.phase in DRAWING_PHASES else "pixels"  # what follows is one
    if shown == "waiting":
        shown = "prefill"  # for a caller it waits only while it has no worker
    return Progress(run.codes_done, run.codes_total, STAGE_NAMES[shown])
