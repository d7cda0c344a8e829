"""Brings what became of a run to the queue: pictures, failures, partial pictures, hand-backs.

One after the other, in the order they came. While Redis is away it keeps trying, for as long as the
claim may still hold. Knows no model.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from service.broker.leases import CrashEnd, Leases
from service.broker.redis_connection import backoff_s
from service.errors import QueueUnavailable
from service.jobs import Expired, Failed, Outcome, Succeeded
from service.worker.claims.holdings import Held, Holdings
from service.worker.pictures.finishing import Finished, FinishingCrashed, PartialImage
from service.worker.signs.job_traces import JobTraces
from service.worker.signs.meter import Meter

_log = logging.getLogger(__name__)


class Delivery:
    """The last station of every run. All methods but `run` return at once."""

    def __init__(self, leases: Leases, holdings: Holdings, meter: Meter, traces: JobTraces) -> None:
        self._leases = leases
        self._holdings = holdings
        self._meter = meter
        self._traces = traces
        self._inbox: asyncio.Queue[tuple[str, Callable[[Held], Awaitable[None]]]] = asyncio.Queue()

    def put(self, product: Finished | PartialImage | FinishingCrashed) -> None:
        """Take what the finishing thread made."""
        match product:
            case Finished(run_id, outcome):
                self.end(run_id, outcome)
            case PartialImage(run_id):
                self._put(run_id, lambda held: self._publish(held, product))
            case FinishingCrashed(run_id, failure):
                self.crash(run_id, failure)

    def end(self, run_id: str, outcome: Outcome) -> None:
        """Commit how it ended."""
        held = self._holdings.get(run_id)
        if held is not None:
            held.stage = "commit"
        self._put(run_id, lambda held: self._finish(run_id, held, outcome))

    def crash(self, run_id: str, failure: str) -> None:
        """Give it back as one that must run alone."""
        self._put(run_id, lambda held: self._crash(run_id, held, failure))

    def release(self, run_id: str) -> None:
        """Give it back untouched."""
        self._put(run_id, lambda held: self._release(run_id, held))

    def _put(self, run_id: str, deliver: Callable[[Held], Awaitable[None]]) -> None:
        self._inbox.put_nowait((run_id, deliver))

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            run_id, deliver = await self._inbox.get()
            held = self._holdings.get(run_id)
            if held is not None:  # else it was lost or cancelled meanwhile
                await self._attempt(run_id, held, deliver)

    async def _attempt(
        self, run_id: str, held: Held, deliver: Callable[[Held], Awaitable[None]]
    ) -> None:
        failures = 0
        while self._holdings.get(run_id) is held:
            try:
                await deliver(held)
            except QueueUnavailable:
                failures += 1
                if failures == 1:
                    _log.warning("redis is away; what is ready waits here")
                await asyncio.sleep(backoff_s(failures))
            except Exception:
                _log.exception("a delivery failed", extra={"job_id": held.claim.job.id})
                self._holdings.drop(run_id)
                self._traces.end(run_id, "failed")
            else:
                return

    async def _publish(self, held: Held, image: PartialImage) -> None:
        data = {"index": image.index, "candidate": image.candidate}
        try:
            await self._leases.publish(held.claim, "partial_image", data, image.data)
        except QueueUnavailable:
            _log.debug("a partial picture was lost")

    async def _finish(self, run_id: str, held: Held, outcome: Outcome) -> None:
        if isinstance(outcome, Succeeded):
            waited = {"queue_wait": round(held.queue_wait_s, 6)}
            outcome = replace(outcome, timings_s=waited | outcome.timings_s)
        began = time.monotonic()
        is_ours = await self._leases.finish(held.claim, outcome)
        self._holdings.drop(run_id)
        self._traces.stage(run_id, "commit", time.monotonic() - began)
        self._traces.end(run_id, _name(outcome) if is_ours else "lost")
        if not is_ours:
            self._meter.lost()
            return
        self._meter.ended(
            _name(outcome),
            num_images=len(outcome.images) if isinstance(outcome, Succeeded) else 0,
            seconds=held.queue_wait_s + time.monotonic() - held.claimed_at,
        )
        _log.info("job ended", extra=_about(held) | {"outcome": _name(outcome)})

    async def _release(self, run_id: str, held: Held) -> None:
        is_ours = await self._leases.release(held.claim)
        self._let_go(run_id, "given_back", is_ours=is_ours)
        _log.info("job given back", extra=_about(held))

    async def _crash(self, run_id: str, held: Held, failure: str) -> None:
        end = await self._leases.crashed(held.claim, failure)
        self._let_go(run_id, "crashed", is_ours=end is not CrashEnd.STALE)
        about = _about(held) | {"failure": failure}
        if end is CrashEnd.DEAD_LETTER:
            self._meter.buried()
            _log.error("job given up", extra=about)
        else:
            _log.info("job given back", extra=about)

    def _let_go(self, run_id: str, why: str, *, is_ours: bool) -> None:
        self._holdings.drop(run_id)
        self._traces.end(run_id, why)
        if not is_ours:
            self._meter.lost()


def _about(held: Held) -> dict[str, object]:
    claim = held.claim
    return {
        "job_id": claim.job.id,
        "request_id": claim.job.request_id,
        "trace_id": claim.job.trace_id,
        "attempt": claim.attempt,
    }


def _name(outcome: Outcome) -> str:
    match outcome:
        case Succeeded():
            return "succeeded"
        case Failed():
            return "failed"
        case Expired():
            return "expired"
