"""What a worker does while it lives, and how it comes to an end.

The event loop speaks with Redis; one thread steps, one makes pictures, one encodes those that jobs
begin with. What each station does is in its folder; here they are joined, and taken apart again at
SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from contextlib import suppress

from redis.asyncio import Redis

import service
from service.broker.leases import Leases
from service.broker.result_files import ResultFiles
from service.broker.stopping import stop
from service.broker.sweep import Sweeper
from service.broker.workers import WorkerInfo, WorkerState
from service.config.groups import TestingSettings
from service.errors import QueueUnavailable
from service.settings import Settings
from service.store.object_store import open_store
from service.tracing.tracing import Tracing
from service.worker.claims.claimer import Claimer
from service.worker.claims.lease_keeper import LeaseKeeper
from service.worker.claims.leased import Leased
from service.worker.delivery.station import Delivery
from service.worker.drawing.station import Drawing
from service.worker.model_host import Machinery
from service.worker.pictures.station import Pictures
from service.worker.run import DRAWING_PHASES, Run, TakenOut
from service.worker.signs.heartbeat import Heartbeat
from service.worker.signs.journal import Journal
from service.worker.signs.meter import Meter
from service.worker.sources.station import Sources

_RENEW_S = 0.5  # longest pause between renewals: callers see progress by them
_LAST_WORDS_S = 5.0  # for what must still reach Redis after the grace time

_HUNG_LEASES = 3  # without progress for so many leases, the process is beyond help

_Task = asyncio.Task[None]

_log = logging.getLogger(__name__)


def exit_hung() -> None:
    """End the process at once: a thread that hangs in the device can't be ended. Whoever
    supervises it starts it again; its jobs are with others long since."""
    _log.critical("no progress for %d leases: giving up this process", _HUNG_LEASES)
    logging.shutdown()
    os._exit(70)


def worker_id(settings: Settings) -> str:
    """The name that is wanted among the workers."""
    return settings.worker.id or f"{socket.gethostname()}-{os.getpid()}"


class Worker:
    """All parts of one worker, for one life. Make it on the event loop."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        machinery: Machinery,
        heartbeat: Heartbeat,
        tracing: Tracing,
    ) -> None:
        self._settings = settings
        self._machinery = machinery
        self._heartbeat = heartbeat
        self._meter = Meter(heartbeat.metrics, settings.model, depth=machinery.model.card.depth)
        store = open_store(settings.results, heartbeat.metrics.results_faults.inc)
        self._leases = Leases(
            redis,
            model=settings.model,
            worker_id=heartbeat.worker_id,
            policy=settings.queue,
            store=store,
        )
        self._files = None if store is None else ResultFiles(redis, store)
        self._sweeper = Sweeper(redis, policy=settings.queue)
        self.on_hang = exit_hung
        self._num_signals = 0
        self._ending = asyncio.Event()
        self._death: str | None = None
        self._moved = ((0, 0), time.monotonic())  # `_moves`, and when they last changed
        self._join_stations(Journal(self._meter, tracing))

    def _join_stations(self, journal: Journal) -> None:
        """claims → sources → drawing → pictures → delivery: each gets the inbox of the next one.

        From pictures a run whose scores don't suffice goes back to drawing; from delivery each one
        comes home to the leased ones, which let it go.
        """
        leases, meter, machinery = self._leases, self._meter, self._machinery
        model, engine, share = machinery.model, machinery.engine, machinery.share
        self._leased = Leased(journal, codes_per_candidate=model.card.codes_per_candidate)
        patience_s = None if self._files is None else self._settings.queue.lease_s
        self._delivery = Delivery(leases, meter, self._leased.let_go, patience_s)
        self._pictures = Pictures(
            model.pipeline, share, meter, self._delivery.put, self._draw_again, model.views
        )
        self._drawing = Drawing(
            engine,
            share,
            journal,
            pictures=self._pictures.put,
            delivery=self._delivery.put,
            ring=self._leased.ring,
        )
        self._sources = Sources(
            model.pipeline, meter, drawing=self._drawing.put, delivery=self._delivery.put
        )
        self._claimer = Claimer(
            leases, self._leased, meter, put=self._sources.put, num_rows=self._num_usable_rows
        )
        self._keeper = LeaseKeeper(leases, self._leased, meter, self._moves)
        meter.watch(lambda: engine.num_busy, lambda: self._pictures.num_waiting)

    def _draw_again(self, run: Run) -> None:
        self._drawing.put(run)

    def warm_up(self) -> None:
        """Run every kernel once. Blocks."""
        began = time.monotonic()
        model, engine = self._machinery.model, self._machinery.engine
        metrics = self._heartbeat.metrics
        self._machinery.warm_up()
        testing = self._settings.testing
        engine.faults = None if testing == TestingSettings() else testing
        metrics.load_seconds.set(model.load_s)
        metrics.warm_up_seconds.set(time.monotonic() - began)
        metrics.build.info({"version": service.__version__})
        metrics.model.info(model.description())
        self._meter.rows(engine.num_rows)

    async def run(self) -> int:
        """Work until a signal, then drain. 0 after a clean end, 1 when a part died."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        model = self._machinery.model
        self._heartbeat.attach(self._vital_signs)
        with suppress(QueueUnavailable):
            await self._heartbeat.beat()
        _log.info("ready", extra=model.description() | {"rows": self._machinery.engine.num_rows})
        parts = self._start()
        await self._ending.wait()
        await self._drain(*parts[:3])
        await stop(*parts)
        return 0 if self._death is None else 1

    def _start(self) -> list[_Task]:
        renew_s = min(self._settings.queue.lease_s / 4, _RENEW_S)
        parts = [
            asyncio.create_task(part)
            for part in (
                self._claimer.run(),
                self._drawing.run(),
                self._pictures.run(),
                self._sources.run(),
                self._delivery.run(),
                self._keeper.run(renew_s),
                self._keeper.watch_cancellations(),
                self._sweep(),
            )
        ]
        if self._files is not None:
            sweeping = self._files.keep_swept(self._settings.queue.sweep_interval_s)
            parts.append(asyncio.create_task(sweeping))
        for part in parts:
            part.add_done_callback(self._on_end_of)
        return parts

    def _on_end_of(self, part: _Task) -> None:
        """One that fails, which only a bug makes happen, is the end of all."""
        error = None if part.cancelled() else part.exception()
        if error is not None:
            _log.critical("a part of the worker failed", exc_info=error)
            self._death = f"{type(error).__name__}: {error}"
            self._ending.set()
            self._leased.ring()

    def _on_signal(self) -> None:
        self._num_signals += 1
        self._ending.set()
        self._leased.ring()

    async def _drain(self, claiming: _Task, drawing: _Task, pictures: _Task) -> None:
        """Take no more, finish what runs within the grace time, hand the rest back."""
        _log.info("draining", extra={"num_jobs": len(self._leased)})
        self._claimer.is_draining = True
        self._leased.ring()
        with suppress(QueueUnavailable):
            await self._heartbeat.beat()
        await asyncio.wait({claiming}, timeout=_LAST_WORDS_S)
        await self._leased.wait_empty(
            self._settings.worker.drain_grace_s,
            until=lambda: self._num_signals > 1 or self._death is not None,
        )
        self._hand_back()
        await self._leased.wait_empty(_LAST_WORDS_S)
        self._sources.stop()
        self._drawing.stop()
        self._pictures.stop()
        await asyncio.wait({drawing, pictures}, timeout=_LAST_WORDS_S)
        _log.info("ended", extra={"num_jobs_left": len(self._leased)})

    def _hand_back(self) -> None:
        """What an engine that died was drawing may be what killed it.

        A run that has its end already is put too, since who decided it may not have got so far as
        to hand it on: what is delivered twice is dropped the second time.
        """
        for run in self._leased:
            end = TakenOut("drained")
            if self._death is not None and run.phase in DRAWING_PHASES:
                end = TakenOut("crashed", self._death)
            run.close(end)
            self._delivery.put(run)

    async def _sweep(self) -> None:
        while True:
            with suppress(QueueUnavailable):
                self._meter.swept(await self._sweeper.sweep())
            await asyncio.sleep(self._settings.queue.sweep_interval_s)

    def _num_usable_rows(self) -> int:
        """None while nothing moves: a worker that hangs must not take the jobs that it lost.

        Nor while memory runs out again and again, or no store takes the pictures: job after job
        would end as a dead letter here.
        """
        is_stuck = self._stuck_s() > self._settings.queue.lease_s / 2
        is_unfit = is_stuck or self._meter.runs_out_of_memory or self._delivery.is_store_away
        return 0 if is_unfit else self._machinery.engine.num_rows

    def _moves(self) -> tuple[int, int]:
        """Signs of progress of drawing, and what comes before it, and of pictures."""
        num_drawing = self._machinery.engine.num_moves + self._sources.num_moves
        return num_drawing, self._pictures.num_moves

    def _stuck_s(self) -> float:
        """Seconds without progress, though there is work."""
        now, moves = time.monotonic(), self._moves()
        if moves != self._moved[0] or not self._leased.is_working:
            self._moved = (moves, now)
        return now - self._moved[1]

    def _vital_signs(self) -> WorkerInfo:
        engine, lease_s = self._machinery.engine, self._settings.queue.lease_s
        stuck_s = self._stuck_s()
        if stuck_s > _HUNG_LEASES * lease_s:
            self.on_hang()
        return WorkerInfo(
            self._heartbeat.worker_id,
            self._machinery.model.card,
            state=self._state(),
            rows_total=engine.num_rows,
            rows_busy=min(engine.num_rows, self._leased.num_undrawn),
            candidates_per_s=self._meter.candidates_per_s(self._leased.is_working),
            num_steps=engine.num_steps,
            is_progressing=stuck_s < lease_s,
            version=service.__version__,
        )

    def _state(self) -> WorkerState:
        if self._ending.is_set():
            return "draining"
        return "failing" if self._meter.runs_out_of_memory else "ready"
