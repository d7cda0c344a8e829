"""The delivery station: tells the queue what became of a run, and its partial pictures.

One after the other, in the order they came; only pictures on their way to a store keep nobody else
waiting. While Redis is away it keeps trying, for as long as the claim may still hold; while the
store is, for as long as a lease lasts, and then it hands the job back. Knows no model.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.broker.claims import CrashEnd
from service.broker.leases import Leases
from service.broker.parts import Committed
from service.broker.redis_connection import backoff_s
from service.broker.stopping import stop
from service.errors import QueueUnavailable, ResultsUnavailable
from service.jobs import Failed, Outcome, Succeeded
from service.worker.handover import Glimpse
from service.worker.run import Run, TakenOut
from service.worker.signs.meter import Meter
from service.worker.threads import call_on

_ENDED_BEFORE = {Committed.LATE: "expired", Committed.CANCELLED: "cancelled"}
_PAUSE_S = 10.0  # after a store's last fault, before more is drawn for it

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Faults:
    """What went wrong so far with one delivery. `unstored_since`: when the store failed first."""

    count: int = 0
    unstored_since: float | None = None


class Delivery:
    """`let_go` takes a run out of those that are leased. Make it on the event loop.

    `store_patience_s`: so long a run waits for a store that takes no pictures. None: Redis keeps
    them.
    """

    def __init__(
        self,
        leases: Leases,
        meter: Meter,
        let_go: Callable[[Run, str], bool],
        store_patience_s: float | None = None,
    ) -> None:
        self._leases = leases
        self._meter = meter
        self._let_go = let_go
        self._store_patience_s = store_patience_s
        self._store_failed_at = -math.inf
        self._storing: set[asyncio.Task[None]] = set()
        self._inbox: asyncio.Queue[Run | Glimpse] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    @property
    def is_store_away(self) -> bool:
        """True while the store has just refused pictures: what is drawn now might be lost."""
        return time.monotonic() - self._store_failed_at < _PAUSE_S

    def put(self, item: Run | Glimpse) -> None:
        """Take a run that has its end, or a picture of one that has none yet. From any thread."""
        call_on(self._loop, lambda: self._inbox.put_nowait(item))

    async def run(self) -> None:
        """Deliver for ever."""
        try:
            while True:
                item = await self._inbox.get()
                if self._store_patience_s is not None and _has_pictures(item):
                    self._store(item)
                else:
                    await self._attempt(item)
        finally:
            await stop(*self._storing)

    def _store(self, item: Run | Glimpse) -> None:
        """Deliver it beside all others: as many at once as there are leased runs, at most."""
        storing = asyncio.create_task(self._attempt(item))
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)

    async def _attempt(self, item: Run | Glimpse) -> None:
        run, faults = item if isinstance(item, Run) else item.run, _Faults()
        while run.is_leased:  # else it was lost or cancelled meanwhile
            try:
                if self._is_given_up(faults):
                    await self._hand_back_unstored(run)
                else:
                    await self._deliver(item)
            except (QueueUnavailable, ResultsUnavailable) as error:
                self._note(faults, error)
                await asyncio.sleep(backoff_s(faults.count))
            except Exception:
                _log.exception("a delivery failed", extra={"job_id": run.job.id})
                self._let_go(run, "failed")
            else:
                return

    def _note(self, faults: _Faults, error: QueueUnavailable | ResultsUnavailable) -> None:
        faults.count += 1
        if isinstance(error, ResultsUnavailable):
            self._store_failed_at = time.monotonic()
            faults.unstored_since = faults.unstored_since or self._store_failed_at
            return
        faults.unstored_since = None  # the store took them
        if faults.count == 1:
            _log.warning("redis is away; what is ready waits here")

    def _is_given_up(self, faults: _Faults) -> bool:
        since, patience_s = faults.unstored_since, self._store_patience_s
        return since is not None and time.monotonic() - since > (patience_s or 0.0)

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
        name = _ENDED_BEFORE.get(committed) or _name(outcome)
        if isinstance(outcome, Succeeded):
            self._store_failed_at = -math.inf
        if not self._end(run, name, is_ours=committed is not Committed.STALE):
            return
        if committed is Committed.PART:
            _log.info("part ended", extra=run.about() | {"outcome": name})
        elif committed in _ENDED_BEFORE:
            _log.info("job had ended", extra=run.about() | {"outcome": name})
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
        self._given_back(run, await self._leases.crashed(run.claim, failure), "crashed", failure)

    async def _hand_back_unstored(self, run: Run) -> None:
        """To whoever reaches the store by then, or as a dead letter."""
        failure = "the store of results took no pictures for as long as a lease lasts"
        self._given_back(run, await self._leases.unstored(run.claim, failure), "unstored", failure)

    def _given_back(self, run: Run, end: CrashEnd, outcome: str, failure: str) -> None:
        self._end(run, outcome, is_ours=end is not CrashEnd.STALE)
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


def _has_pictures(item: Run | Glimpse) -> bool:
    return isinstance(item, Run) and isinstance(item.end, Succeeded)


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
