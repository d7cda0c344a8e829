"""The drawing station: one thread that steps the engine, without a pause while there is work.

Runs come in through an inbox that any thread may fill. What they give goes on to pictures, what
ends here to delivery. Knows no Redis and no event loop.
"""

from __future__ import annotations

import queue
from collections.abc import Callable

from service.worker.cpu_share import CpuShare
from service.worker.drawing.engine import Engine
from service.worker.handover import Drawn, Glimpse, StepReport
from service.worker.run import Run
from service.worker.signs.journal import Journal
from service.worker.threads import on_own_thread


class Drawing:
    """`pictures` and `delivery` are the inboxes behind it; `ring` says that rows are free."""

    def __init__(
        self,
        engine: Engine,
        share: CpuShare,
        journal: Journal,
        *,
        pictures: Callable[[Drawn | Glimpse], None],
        delivery: Callable[[Run], None],
        ring: Callable[[], None],
    ) -> None:
        self.engine = engine
        self._share = share
        self._journal = journal
        self._pictures = pictures
        self._delivery = delivery
        self._ring = ring
        self._inbox: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._is_stopping = False

    def put(self, run: Run) -> None:
        """Take a run; it enters before the next step that has rows for it."""
        self._inbox.put(run)

    async def run(self) -> None:
        """Step until `stop`. Raises what ends the engine."""
        await on_own_thread(self._work, "engine")

    def stop(self) -> None:
        """End after the step in progress."""
        self._is_stopping = True
        self._inbox.put(None)

    def _work(self) -> None:
        while not self._is_stopping:
            self._take_in()
            if not self.engine.is_idle:
                self._share.for_step()
                report = self.engine.step()
                if self.engine.is_idle:
                    self._share.rest()
                self._hand_on(report)

    def _take_in(self) -> None:
        """All runs that have come; waits for one when there is nothing else to do."""
        try:
            run = self._inbox.get(block=self.engine.is_idle)
            while True:
                if run is not None:
                    self.engine.add(run)
                run = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _hand_on(self, report: StepReport) -> None:
        self._journal.step(report, self.engine.num_rows, is_idle=self.engine.is_idle)
        for item in report.made:
            self._pictures(item)
        for run in report.ended:
            self._delivery(run)
        if report.num_drawn or report.left:
            self._ring()
