"""The delivery station: tells the queue what became of a run, and its partial pictures.

One after the other, in the order they came. While Redis is away it keeps trying, for as long as the
claim may still hold. Knows no model.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from service.broker.leases import CrashEnd, Leases
from service.broker.parts import Committed
from service.broker.redis_connection import backoff_s
from service.errors import QueueUnavailable
from service.jobs import Failed, Outcome, Succeeded
from service.worker.handover import Glimpse
from service.worker.run import Run, TakenOut
from service.worker.signs.meter import Meter
from service.worker.threads import call_on

_log = logging.getLogger(__name__)


class Delivery:
    """`let_go` takes a run out of those that are leased. Make it on the event loop."""

    def __init__(self, leases: Leases, meter: Meter, let_go: Callable[[Run, str], bool]) -> None:
        self._leases = leases
        self._meter = meter
        self._let_go = let_go
        self._inbox: asyncio.Queue[Run | Glimpse] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, item: Run | Glimpse) -> None:
        """Take a run that has its end, or a picture of one that has none yet. From any thread."""
        call_on(self._loop, lambda: self._inbox.put_nowait(item))

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            item = await self._inbox.get()
            run = item if isinstance(item, Run) else item.run
            await self._attempt(run, item)

    async def _attempt(self, run: Run, item: Run | Glimpse) -> None:
        failures = 0
        while run.is_leased:  # else it was lost or cancelled meanwhile
            try:
                await self._deliver(item)
            except QueueUnavailable:
                failures += 1
                if failures == 1:
                    _log.warning("redis is away; what is ready waits here")
                await asyncio.sleep(backoff_s(failures))
            except Exception:
                _log.exception("a delivery failed", extra={"job_id": run.job.id})
                self._let_go(run, "failed")
            else:
                return

    async def _deliver(self, item: Run | Glimpse) -> None:
        if isinstance(item, Glimpse):
            await self._publish(item)
            return
        match item.end:
            case TakenOut("drained"):
                await self._hand_back(item)
            case TakenOut("crashed", failure):
                await self._give_back_crashed(item, failure)
            case TakenOut() | None:
                pass  # the queue knows
            case outcome:
                await self._commit(item, outcome)

    async def _publish(self, image: Glimpse) -> None:
        data: dict[str, object] = {"index": image.index, "candidate": image.candidate}
        data |= {"part": image.part} | ({"view": image.query} if image.query else {})
        try:
            await self._leases.publish(image.run.claim, "partial_image", data, image.data)
        except QueueUnavailable:
            _log.debug("a partial picture was lost")

    async def _commit(self, run: Run, outcome: Outcome) -> None:
        began = time.monotonic()
        committed = await self._leases.finish(run.claim, outcome)
        now = time.monotonic()
        run.stamp("commit", began, now)
        name = _name(outcome)
        if not self._end(run, name, is_ours=committed is not Committed.STALE):
            return
        if committed is Committed.PART:
            _log.info("part ended", extra=run.about() | {"outcome": name})
        else:
            num_images = _num_images(run, outcome)
            seconds = run.claim.waited_s + now - run.claimed_at
            self._meter.ended(name, num_images=num_images, seconds=seconds)
            _log.info("job ended", extra=run.about() | {"outcome": name})

    async def _hand_back(self, run: Run) -> None:
        is_ours = await self._leases.release(run.claim)
        self._end(run, "given_back", is_ours=is_ours)
        _log.info("job given back", extra=run.about())

    async def _give_back_crashed(self, run: Run, failure: str) -> None:
        """As one that must run alone next time, or as a dead letter."""
        end = await self._leases.crashed(run.claim, failure)
        self._end(run, "crashed", is_ours=end is not CrashEnd.STALE)
        about = run.about() | {"failure": failure}
        if end is CrashEnd.DEAD_LETTER:
            self._meter.buried()
            _log.error("job given up", extra=about)
        else:
            _log.info("job given back", extra=about)

    def _end(self, run: Run, outcome: str, *, is_ours: bool) -> bool:
        """Let it go; false when the claim had been lost before."""
        was_held = self._let_go(run, outcome if is_ours else "lost")
        if was_held and not is_ours:
            self._meter.lost()
        return was_held and is_ours


def _num_images(run: Run, outcome: Outcome) -> int:
    """How many pictures the job has that this run has ended."""
    if not isinstance(outcome, Succeeded):
        return 0
    return len(outcome.images) if run.claim.part is None else run.job.recipe.n


def _name(outcome: Outcome) -> str:
    match outcome:
        case Succeeded():
            return "succeeded"
        case Failed():
            return "failed"
        case _:
            return "expired"
