"""The drawing station: one thread that steps the engines, without a pause while there is work.

Each model has a seat here, with its own engine. Runs come in through an inbox that any thread may
fill. What they give goes on to pictures, what ends here to delivery. Where several models have
something to draw, their steps take turns. Knows no Redis and no event loop.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from service.worker.cpu_share import CpuShare
from service.worker.drawing.engine import Engine
from service.worker.drawing.turns import Turns
from service.worker.handover import Drawn, Glimpse, StepReport
from service.worker.run import Run
from service.worker.signs.journal import Journal
from service.worker.threads import on_own_thread, passed_through


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A model at the station: what it is stepped by, and who gets what its steps give.

    `pictures` and `delivery` are the inboxes behind it; `ring` says that rows are free.
    """

    engine: Engine
    share: CpuShare
    journal: Journal
    pictures: Callable[[Drawn | Glimpse], None]
    delivery: Callable[[Run], None]
    ring: Callable[[], None]

    def hand_on(self, report: StepReport) -> None:
        """Tell what a step gave to whom it is for."""
        engine = self.engine
        self.journal.step(report, engine.num_rows, is_idle=engine.is_idle)
        for item in report.made:
            self.pictures(item)
        for run in report.ended:
            self.delivery(run)
        if report.num_drawn or report.left:
            self.ring()


class Drawing:
    """All seats. `clock` is for tests only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seats: list[Seat] = []
        self._turns: Turns[Seat] = Turns()
        self._inbox: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._is_stopping = False

    def join(self, seat: Seat) -> None:
        """Give a model a seat, for runs that are put after."""
        self._inbox.put(partial(self._seats.append, seat))

    def put(self, seat: Seat, run: Run) -> None:
        """Take a run; it enters before the next step that has rows for it."""
        self._inbox.put(partial(seat.engine.add, run))

    async def leave(self, seat: Seat) -> None:
        """Wait until a model, whose runs all have left, is forgotten here."""
        self._inbox.put(partial(self._seats.remove, seat))
        self._inbox.put(partial(self._turns.forget, seat))
        await passed_through(self._inbox.put)

    async def run(self) -> None:
        """Step until `stop`. Raises what ends an engine."""
        await on_own_thread(self._work, "engine")

    def stop(self) -> None:
        """End after the step in progress."""
        self._is_stopping = True
        self._inbox.put(lambda: None)

    def _work(self) -> None:
        while not self._is_stopping:
            self._take_in(is_patient=not self._asking())
            if asking := self._asking():
                self._step(self._turns.next(asking), is_alone=len(asking) == 1)

    def _asking(self) -> list[Seat]:
        return [seat for seat in self._seats if not seat.engine.is_idle]

    def _take_in(self, *, is_patient: bool) -> None:
        """All that has come; waits for something when there is nothing else to do."""
        try:
            self._inbox.get(block=is_patient)()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            return

    def _step(self, seat: Seat, *, is_alone: bool) -> None:
        seat.share.for_step()
        began = self._clock()
        report = seat.engine.step()
        if not is_alone:
            seat.engine.settle()  # else the device's time would be the next one's
        self._turns.charge(seat, self._clock() - began)
        if not self._asking():
            seat.share.rest()
        seat.hand_on(report)
