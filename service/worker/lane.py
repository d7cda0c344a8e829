"""The lane of one model in a worker: its jobs' way from claim to delivery, and its signs of life.

claims → the studio (sources → drawing → pictures) → delivery. The studio, which needs the model
itself, comes when that is loaded and goes when it is unloaded; then no row is free, and nothing is
claimed. Knows nothing of when a model is loaded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

import service
from service.broker.leases import Leases
from service.broker.parts import Committed
from service.broker.waiting import has_waiting
from service.broker.workers import WorkerInfo, Workers, WorkerState
from service.config.groups import TestingSettings
from service.jobs import Failed
from service.settings import Settings
from service.store.object_store import ObjectStore
from service.tracing.tracing import Tracing
from service.worker.claims.claimer import Claimer
from service.worker.claims.company import Company
from service.worker.claims.lease_keeper import LeaseKeeper
from service.worker.claims.leased import Leased
from service.worker.delivery.station import Delivery
from service.worker.guests import Guest
from service.worker.model_host import Machinery
from service.worker.residence import Stay
from service.worker.run import DRAWING_PHASES, Run, TakenOut
from service.worker.signs.journal import Journal
from service.worker.signs.meter import Meter
from service.worker.signs.resident_meter import ResidentMeter
from service.worker.studio import Hands, Studio

_RENEW_S = 0.5  # longest pause between renewals: callers see progress by them
_MANY_JOBS = 1024  # candidates whose jobs are turned away at once
_HUNG_LEASES = 3  # without progress for so many leases, the process is beyond help
_NOT_LOADED = Failed("model_unavailable", "The model could not be loaded.")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shop:
    """What all lanes of a worker share.

    `store` keeps the results, where Redis doesn't; `is_ending` says that the worker drains;
    `on_hang` is called when nothing moves any more.
    """

    settings: Settings
    redis: Redis
    store: ObjectStore | None
    tracing: Tracing
    hands: Hands
    company: Company
    is_ending: Callable[[], bool]
    on_hang: Callable[[], None]


class Lane:
    """Of one model, for the life of the worker. Make it on the event loop."""

    def __init__(self, guest: Guest, shop: Shop) -> None:
        self._card = guest.card
        self.model = self._card.model
        self.heartbeat = guest.heartbeat
        self.studio: Studio | None = None
        self._shop, self._policy = shop, shop.settings.queue
        self._workers = Workers(shop.redis)
        self._moved = ((0, 0), time.monotonic())  # `_moves`, and when they last changed
        self._num_steps = 0  # of studios before this one
        metrics = self.heartbeat.metrics
        self.resident = ResidentMeter(metrics, self.model)
        self.stay = Stay(guest.found.num_bytes, self.resident.entered)
        self.resident.entered(self.stay.state)
        self.meter = Meter(metrics, self.model, depth=self._card.depth)
        self._journal = Journal(self.meter, shop.tracing)
        self._leases = Leases(
            shop.redis,
            model=self.model,
            worker_id=self.heartbeat.worker_id,
            policy=self._policy,
            store=shop.store,
        )
        self._join_stations()
        if isinstance(guest.found, Machinery):
            self.stay.enter("loading")
            self.open(guest.found, guest.found.ready_s)

    def _join_stations(self) -> None:
        """Those that the lane has always, whether its model is loaded or not."""
        leases, meter, company = self._leases, self.meter, self._shop.company
        self.leased = Leased(self._journal, codes_per_candidate=self._card.codes_per_candidate)
        company.join(self.leased)
        patience_s = None if self._shop.store is None else self._policy.lease_s
        self.delivery = Delivery(leases, meter, self.leased.let_go, patience_s)
        self.claimer = Claimer(
            leases,
            self.leased,
            meter,
            put=self._put,
            num_rows=self._num_usable_rows,
            company=company,
        )
        self._keeper = LeaseKeeper(leases, self.leased, meter, self._moves)
        meter.watch(self._num_busy, self._num_finishing)

    def parts(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to run beside the claimer as long as the worker lives."""
        yield self.delivery.run()
        yield self._keeper.run(min(self._policy.lease_s / 4, _RENEW_S))
        yield self._keeper.watch_cancellations()

    def begin(self) -> None:
        """From now on the heartbeat tells how it is."""
        self.heartbeat.attach(self._vital_signs)

    def open(self, machinery: Machinery, seconds: float) -> None:
        """Take the model in, which was loaded within so long: jobs can come."""
        testing = self._shop.settings.testing
        machinery.engine.faults = None if testing == TestingSettings() else testing
        self.studio = Studio.set_up(
            machinery,
            self._shop.hands,
            self._journal,
            delivery=self.delivery.put,
            ring=self.leased.ring,
        )
        self._card = machinery.model.card
        self.stay.arrive(time.monotonic(), machinery.num_bytes, seconds)
        self.resident.loaded(self.stay.num_bytes, seconds)
        self._tell_loaded(machinery)
        self.leased.ring()

    def _tell_loaded(self, machinery: Machinery) -> None:
        metrics, model = self.heartbeat.metrics, machinery.model
        metrics.load_seconds.set(model.load_s)
        metrics.warm_up_seconds.set(machinery.warm_up_s)
        metrics.model.labels(**model.description()).set(1)
        self.meter.rows(machinery.engine.num_rows)
        _log.info("ready", extra=model.description() | {"rows": machinery.engine.num_rows})

    def close(self) -> None:
        """At the worker's end, when the hands have stopped."""
        if self.studio:
            self.studio.close()

    async def shut(self) -> None:
        """Let the model go, which no job needs any more."""
        studio, self.studio = self.studio, None
        if studio is not None:
            await studio.clear()
            self._num_steps += studio.machinery.engine.num_steps
            self.meter.rows(0)
            labels = studio.machinery.model.description().values()
            self.heartbeat.metrics.model.remove(*labels)

    @property
    def is_busy(self) -> bool:
        """Whether a job runs here."""
        return len(self.leased) > 0 or (self.studio is not None and not self.studio.is_empty)

    @property
    def is_empty(self) -> bool:
        """Whether no job runs here, nor may come with a claim on its way."""
        return not self.is_busy and not self.claimer.is_claiming

    async def has_waiting(self) -> bool:
        """Whether a job waits for this model. QueueUnavailable when Redis is away."""
        return await has_waiting(self._shop.redis, self.model)

    async def turn_away(self) -> None:
        """End the jobs that wait for a model that can't be loaded; unless others have it."""
        workers = await self._workers.list()
        if any(w.card.model == self.model and w.is_serving and w.is_loaded for w in workers):
            return
        claimed = await self._leases.claim(free_rows=_MANY_JOBS, num_running=0)
        self.meter.late(claimed.num_expired)
        for claim in claimed.claims:
            if await self._leases.finish(claim, _NOT_LOADED) is Committed.ENDED:
                self.meter.ended("failed", num_images=0, seconds=0.0)
                _log.error("job ended: its model can't be loaded", extra={"job_id": claim.job.id})

    def hand_back(self, death: str | None) -> None:
        """End all runs. What an engine that died was drawing may be what killed it.

        A run that has its end already is put too, since who decided it may not have got so far as
        to hand it on: what is delivered twice is dropped the second time.
        """
        for run in self.leased:
            end = TakenOut("drained")
            if death is not None and run.phase in DRAWING_PHASES:
                end = TakenOut("crashed", death)
            run.close(end)
            self.delivery.put(run)

    def _put(self, run: Run) -> None:
        assert self.studio is not None  # else there were no rows to claim for
        self.stay.used_at = time.monotonic()
        self.studio.put(run)

    def _num_busy(self) -> int:
        return self.studio.num_busy if self.studio else 0

    def _num_finishing(self) -> int:
        return self.studio.pictures.num_waiting if self.studio else 0

    @property
    def _num_rows(self) -> int:
        return self.studio.num_rows if self.studio else 0

    def _num_usable_rows(self) -> int:
        """None while nothing moves: a worker that hangs must not take the jobs that it lost.

        Nor while memory runs out again and again, or no store takes the pictures: job after job
        would end as a dead letter here.
        """
        is_stuck = self._stuck_s() > self._policy.lease_s / 2
        is_unfit = is_stuck or self.meter.runs_out_of_memory or self.delivery.is_store_away
        return 0 if is_unfit or not self.stay.takes_jobs else self._num_rows

    def _moves(self) -> tuple[int, int]:
        return self.studio.moves if self.studio else (0, 0)

    def _stuck_s(self) -> float:
        """Seconds without progress, though there is work."""
        now, moves = time.monotonic(), self._moves()
        if moves != self._moved[0] or not self.leased.is_working:
            self._moved = (moves, now)
        return now - self._moved[1]

    def _vital_signs(self) -> WorkerInfo:
        lease_s = self._policy.lease_s
        stuck_s = self._stuck_s()
        if stuck_s > _HUNG_LEASES * lease_s:
            self._shop.on_hang()
        engine = self.studio.machinery.engine if self.studio else None
        return WorkerInfo(
            self.heartbeat.worker_id,
            self._card,
            state=self._state(),
            rows_total=self._num_rows,
            rows_busy=min(self._num_rows, self.leased.num_undrawn),
            candidates_per_s=self.meter.candidates_per_s(self.leased.is_working),
            num_steps=self._num_steps + (engine.num_steps if engine else 0),
            is_progressing=stuck_s < lease_s,
            version=service.__version__,
            residence=self.stay.state,
        )

    def _state(self) -> WorkerState:
        if self._shop.is_ending():
            return "draining"
        if self.stay.is_due:
            return "loading"
        is_failing = self.meter.runs_out_of_memory or time.monotonic() < self.stay.failed_until
        return "failing" if is_failing else "ready"
