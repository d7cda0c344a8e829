"""What a worker does while it lives: claim, draw, renew, deliver; and how it comes to an end.

The event loop speaks with Redis; one thread steps, one makes pictures. What each part does is in
its file; here they are put together, and taken apart again at SIGTERM.
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
from service.broker.leases import LeasePolicy, Leases
from service.broker.sweep import Sweeper
from service.broker.workers import WorkerState
from service.errors import QueueUnavailable
from service.settings import Settings
from service.stopping import stop
from service.tracing.tracing import Tracing
from service.worker.claims.claimer import Claimer
from service.worker.claims.holdings import Holdings
from service.worker.claims.lease_keeper import LeaseKeeper
from service.worker.delivery.delivery import Delivery
from service.worker.drawing.faults import Faults
from service.worker.model_host import Machinery
from service.worker.signs.heartbeat import Heartbeat, VitalSigns
from service.worker.signs.job_traces import JobTraces
from service.worker.signs.meter import Meter
from service.worker.switchboard import Switchboard

_RENEW_S = 0.5  # longest pause between renewals: callers see progress by them
_LAST_WORDS_S = 5.0  # for what must still reach Redis after the grace time

_HUNG_LEASES = 3  # without progress for so many leases, the process is beyond help

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
    """All parts of one worker, for one life, under its name. Make it on the event loop."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        machinery: Machinery,
        heartbeat: Heartbeat,
        tracing: Tracing,
        name: str,
    ) -> None:
        self._settings = settings
        model = machinery.model
        self._machinery = machinery
        self._heartbeat = heartbeat
        self._holdings = Holdings()
        self._meter = Meter(heartbeat.metrics, settings.model)
        policy = LeasePolicy.of(settings.queue)
        self._leases = Leases(redis, model=settings.model, worker_id=name, policy=policy)
        self._sweeper = Sweeper(redis, policy=policy)
        traces = JobTraces(tracing)
        self._delivery = Delivery(self._leases, self._holdings, self._meter, traces)
        self._board = Switchboard(
            machinery, self._holdings, self._delivery, self._meter, traces, self._die
        )
        self._claimer = Claimer(
            self._leases,
            self._holdings,
            self._meter,
            start=self._board.start_run,
            num_rows=self._num_usable_rows,
            num_steps=model.card.num_steps,
        )
        self.on_hang = exit_hung
        self._num_signals = 0
        self._ending = asyncio.Event()
        self._death: str | None = None
        self._moved = (0, time.monotonic())  # the engine's counter, and when it last changed

    def warm_up(self) -> None:
        """Run every kernel once. Blocks."""
        began = time.monotonic()
        model, engine, metrics = self._machinery.model, self._board.engine, self._heartbeat.metrics
        self._machinery.warm_up()
        engine.faults = Faults.of(self._settings.testing)
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
        self._board.start()
        model = self._machinery.model
        self._heartbeat.attach(self._vital_signs, model.card)
        with suppress(QueueUnavailable):
            await self._heartbeat.beat()
        _log.info("ready", extra=model.description() | {"rows": self._board.engine.num_rows})
        claiming = asyncio.create_task(self._claimer.run())
        background = [
            asyncio.create_task(part)
            for part in (self._keep_leases(), self._cancel(), self._sweep(), self._delivery.run())
        ]
        await self._until_end([claiming, *background])
        await self._drain(claiming)
        await stop(claiming, *background)
        return 0 if self._death is None else 1

    async def _until_end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Until a signal comes, or a part fails, which only a bug makes happen."""
        ending = asyncio.create_task(self._ending.wait())
        done, _ = await asyncio.wait({ending, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {ending}:
            _log.critical("a part of the worker failed", exc_info=task.exception())
            self._die(repr(task.exception()))

    def _on_signal(self) -> None:
        self._num_signals += 1
        self._ending.set()
        self._holdings.changed.set()

    def _die(self, failure: str) -> None:
        self._death = failure
        self._ending.set()

    async def _drain(self, claiming: asyncio.Task[None]) -> None:
        """Take no more, finish what runs within the grace time, hand the rest back."""
        _log.info("draining", extra={"num_jobs": len(self._holdings)})
        self._claimer.is_draining = True
        self._holdings.changed.set()
        with suppress(QueueUnavailable):
            await self._heartbeat.beat()
        await asyncio.wait({claiming}, timeout=_LAST_WORDS_S)
        if self._death is None:
            grace_s = self._settings.worker.drain_grace_s
            await self._holdings.wait_empty(grace_s, until=lambda: self._num_signals > 1)
        self._hand_back()
        await self._holdings.wait_empty(_LAST_WORDS_S)
        await self._board.stop(_LAST_WORDS_S)
        _log.info("ended", extra={"num_jobs_left": len(self._holdings)})

    def _hand_back(self) -> None:
        """What an engine that died was drawing may be what killed it."""
        for run_id, held in self._holdings.all().items():
            if self._death is not None and held.stage == "decode":
                self._delivery.crash(run_id, self._death)
            elif held.stage != "commit":
                self._board.steps.remove(run_id, "drained")
                self._delivery.release(run_id)

    async def _keep_leases(self) -> None:
        board = self._board
        keeper = LeaseKeeper(
            self._leases,
            self._holdings,
            counters=lambda: (board.engine.num_moves, board.finishing.num_moves),
            progress=lambda: board.steps.progress,
            remove=board.claim_gone,
        )
        await keeper.run(min(self._settings.queue.lease_s / 4, _RENEW_S))

    async def _cancel(self) -> None:
        async for job_id in self._leases.cancellations():
            self._board.cancelled(job_id)

    async def _sweep(self) -> None:
        while True:
            with suppress(QueueUnavailable):
                self._meter.swept(await self._sweeper.sweep())
            await asyncio.sleep(self._settings.queue.sweep_interval_s)

    def _num_usable_rows(self) -> int:
        """None while nothing moves: a worker that hangs must not take the jobs that it lost.

        Nor while memory runs out again and again: job after job would end as a dead letter here.
        """
        is_stuck = self._stuck_s() > self._settings.queue.lease_s / 2
        is_unfit = is_stuck or self._meter.runs_out_of_memory
        return 0 if is_unfit else self._board.engine.num_rows

    def _stuck_s(self) -> float:
        """Seconds without progress, though there is work."""
        now, moves = time.monotonic(), self._board.num_moves
        if moves != self._moved[0] or not self._holdings.is_working:
            self._moved = (moves, now)
        return now - self._moved[1]

    def _vital_signs(self) -> VitalSigns:
        engine, lease_s = self._board.engine, self._settings.queue.lease_s
        stuck_s = self._stuck_s()
        if stuck_s > _HUNG_LEASES * lease_s:
            self.on_hang()
        return VitalSigns(
            state=self._state(),
            rows_total=engine.num_rows,
            rows_busy=min(engine.num_rows, self._holdings.num_undrawn),
            candidates_per_s=self._meter.candidates_per_s(self._holdings.is_working),
            num_steps=engine.num_steps,
            is_progressing=stuck_s < lease_s,
        )

    def _state(self) -> WorkerState:
        if self._ending.is_set():
            return "draining"
        return "failing" if self._meter.runs_out_of_memory else "ready"
