"""Passes on what one part of the worker tells to the parts that it concerns.

The engine's and the finishing thread call it; what concerns claims goes to the event loop. Decides
nothing but who has to know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from service.broker.leases import Claim, LeaseState
from service.jobs import Expired, Failed
from service.worker.claims.holdings import Holdings
from service.worker.delivery.delivery import Delivery
from service.worker.drawing.engine_events import (
    Crashed,
    Drawn,
    LeaveReason,
    Left,
    Refused,
    StepReport,
)
from service.worker.drawing.engine_loop import EngineLoop
from service.worker.model_host import Machinery
from service.worker.pictures.finishing import Finishing, FinishingCrashed, Product
from service.worker.signs.job_traces import JobTraces
from service.worker.signs.meter import Meter

_T = TypeVar("_T")
_REASONS: dict[LeaseState, LeaveReason] = {
    LeaseState.LOST: "lost",
    LeaseState.CANCELLED: "cancelled",
    LeaseState.EXPIRED: "expired",
}

_log = logging.getLogger(__name__)


class Switchboard:
    """Owns the two threads, and connects them with the claims. Make it on the event loop."""

    def __init__(
        self,
        machinery: Machinery,
        holdings: Holdings,
        delivery: Delivery,
        meter: Meter,
        traces: JobTraces,
        on_death: Callable[[str], None],
    ) -> None:
        pipeline, share = machinery.model.pipeline, machinery.share
        self.engine = machinery.engine
        self.steps = EngineLoop(self.engine, share, self._on_report, self._on_engine_death)
        self.finishing = Finishing(
            pipeline, share, self._on_product, self._on_stage, meter.out_of_memory
        )
        meter.watch(lambda: self.engine.num_busy, lambda: self.finishing.num_waiting)
        self._holdings = holdings
        self._delivery = delivery
        self._meter = meter
        self._traces = traces
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()

    @property
    def num_moves(self) -> int:
        """Grows with every sign of progress of either thread."""
        return self.engine.num_moves + self.finishing.num_moves

    def start(self) -> None:
        """Start the threads."""
        self.steps.start()
        self.finishing.start()

    async def stop(self, timeout_s: float) -> None:
        """End them."""
        stops = (self.steps.stop, self.finishing.stop)
        await asyncio.gather(*(asyncio.to_thread(stop, timeout_s) for stop in stops))

    def start_run(self, run_id: str, claim: Claim, deadline: float) -> None:
        """Hand a claimed job to the engine."""
        self._traces.begin(run_id, claim.job, attempt=claim.attempt, waited_s=claim.waited_s)
        self.steps.add(run_id, claim.job, deadline)

    def claim_gone(self, run_id: str, state: LeaseState) -> None:
        """A claim is not ours any more: free its rows."""
        if state is LeaseState.LOST:
            self._meter.lost()
        else:
            self._meter.ended(state.value, num_images=0, seconds=0.0)
        self.steps.remove(run_id, _REASONS[state])
        self._traces.end(run_id, state.value)

    def cancelled(self, job_id: str) -> None:
        """A caller has cancelled the job."""
        for run_id in self._holdings.of_job(job_id):
            self._holdings.drop(run_id)
            self.claim_gone(run_id, LeaseState.CANCELLED)

    def _on_report(self, report: StepReport) -> None:
        self._meter.step(report, self.engine.num_rows)
        self._traces.report(report, is_idle=self.engine.is_idle)
        for event in report.events:
            self.finishing.put(event)
        if report.events:
            self._on_loop(self._after_step, report)

    def _on_stage(self, run_id: str, stage: str, seconds: float) -> None:
        self._meter.stage(stage, seconds)
        self._traces.stage(run_id, stage, seconds)

    def _on_product(self, product: Product) -> None:
        if isinstance(product, FinishingCrashed):
            self.steps.remove(product.run_id, "crashed")  # nobody waits for the rest of it
        self._on_loop(self._delivery.put, product)

    def _on_engine_death(self, error: BaseException) -> None:
        _log.critical("the engine died", exc_info=error)
        self._on_loop(self._on_death, f"{type(error).__name__}: {error}")

    def _on_loop(self, callback: Callable[[_T], None], argument: _T) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(callback, argument)

    def _after_step(self, report: StepReport) -> None:
        for event in report.events:
            match event:
                case Drawn(run_id, candidates, _, is_last):
                    self._holdings.drawn(run_id, len(candidates), is_last=is_last)
                case Refused(run_id, code, message):
                    self._delivery.end(run_id, Failed(code, message))
                case Crashed(run_ids, failure):
                    for run_id in run_ids:
                        self._delivery.crash(run_id, failure)
                case Left(run_id, "expired"):
                    self._delivery.end(run_id, Expired())
                case _:
                    pass
