"""The first station: claims jobs as rows become free and hands them on.

Takes as many as the free rows hold, nothing beside an isolated job, and nothing more while pictures
pile up unfinished. Knows no model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from service.broker.claims import Claim
from service.broker.leases import Leases
from service.broker.redis_connection import backoff_s
from service.errors import QueueUnavailable
from service.worker.claims.company import Company
from service.worker.claims.leased import Leased
from service.worker.run import Run
from service.worker.signs.meter import Meter

_BLOCK_S = 0.5  # how long one call waits for a job
_LOOK_S = 0.5  # how often it looks for room without being woken
_UNFINISHED = 3  # batches' worth of candidates that may be held, pictures in the making included

_log = logging.getLogger(__name__)


class Claimer:
    """Set `is_draining` to end it: it then gives back what a call still brings.

    `put` is the inbox of the next station; `num_rows` says how many rows drawing has to fill.
    `is_claiming` while jobs may come. `company`: of the models of this worker.
    """

    def __init__(
        self,
        leases: Leases,
        leased: Leased,
        meter: Meter,
        *,
        put: Callable[[Run], None],
        num_rows: Callable[[], int],
        company: Company,
    ) -> None:
        self.is_draining = False
        self.is_claiming = False
        self._leases = leases
        self._leased = leased
        self._meter = meter
        self._put = put
        self._num_rows = num_rows
        self._company = company

    async def run(self) -> None:
        """Claim until `is_draining`."""
        failures = 0
        while not self.is_draining:
            room = self._room()
            if room <= 0:
                await self._leased.wait(_LOOK_S)
                continue
            try:
                await self._claim(room)
                failures = 0
            except QueueUnavailable:
                failures += 1
                if failures == 1:
                    _log.warning("no jobs can be claimed: redis is away")
                await asyncio.sleep(backoff_s(failures))

    def _room(self) -> int:
        """Candidates that may come now."""
        if self._leased.has_isolated or self._company.is_closed_to(self._leased):
            return 0
        num_rows = self._num_rows()
        unfinished = _UNFINISHED * num_rows - self._leased.num_candidates
        if len(self._leased) == 0:
            return num_rows
        return min(num_rows - self._leased.num_undrawn, unfinished)

    async def _claim(self, room: int) -> None:
        self.is_claiming = True
        try:
            claimed = await self._leases.claim(
                free_rows=room, num_running=self._company.num_runs, block_s=_BLOCK_S
            )
            for claim in claimed.claims:
                if self.is_draining or self._company.is_in_the_way(self._leased, claim):
                    await self._leases.release(claim)
                else:
                    self._take(claim)
        finally:
            self.is_claiming = False
        self._meter.late(claimed.num_expired)
        if claimed.must_drain:
            self._company.ask_for_quiet(self._leased)
            await self._leased.wait(_LOOK_S)

    def _take(self, claim: Claim) -> None:
        run = self._leased.add(claim)
        self._put(run)
        facts = {"num_candidates": len(run.candidates), "is_isolated": claim.is_isolated}
        _log.info("job claimed", extra=run.about() | facts)
