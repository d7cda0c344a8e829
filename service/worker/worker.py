"""What a worker does while it lives, and how it comes to an end.

The event loop speaks with Redis; one thread steps, one makes pictures, one encodes those that jobs
begin with. Each model has a lane, on which its jobs go from station to station; here the lanes are
joined to the threads, and taken apart again at SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from redis.asyncio import Redis

from service.broker.result_files import ResultFiles
from service.broker.stopping import end_signals, hurries, stop
from service.broker.sweep import Sweeper
from service.errors import QueueUnavailable
from service.settings import Settings
from service.store.object_store import open_store
from service.tracing.tracing import Tracing
from service.worker.claims.company import Company
from service.worker.cpu_share import Cores, use_threads
from service.worker.device_memory import free_bytes
from service.worker.drawing.station import Drawing
from service.worker.guests import Guest
from service.worker.landlord import Landlord
from service.worker.lane import Lane, Shop
from service.worker.model_host import Machinery, load_options
from service.worker.pictures.station import beside_steps
from service.worker.sources.station import one_thread
from service.worker.studio import Hands
from service.worker.threads import Hand

_LAST_WORDS_S = 5.0  # for what must still reach Redis after the grace time
_MB = 1_000_000

_Task = asyncio.Task[None]

_log = logging.getLogger(__name__)


def exit_hung() -> None:
    """End the process at once: a thread that hangs in the device can't be ended. Whoever
    supervises it starts it again; its jobs are with others long since."""
    _log.critical("no progress for several leases: giving up this process")
    logging.shutdown()
    os._exit(70)


class Worker:
    """All parts of one worker, for one life. Make it on the event loop.

    `cores`: those that the models were loaded with. Models that are not loaded are due at once
    where the settings say so.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        guests: Mapping[str, Guest],
        tracing: Tracing,
        cores: Cores | None = None,
    ) -> None:
        self._settings = settings
        self._sweeper = Sweeper(redis, policy=settings.queue)
        self.on_hang = exit_hung
        self._num_signals = 0
        self._ending = asyncio.Event()
        self._death: str | None = None
        self._cores = cores or Cores()
        self._num_threads = settings.worker.threads or torch.get_num_threads()
        self._device = load_options(settings.worker).device
        self._hands = Hands(
            Hand("sources", partial(one_thread, self._device)),
            Drawing(),
            Hand("pictures", partial(beside_steps, self._device)),
        )
        # What goes wrong with the store is counted for all models together.
        metrics = next(iter(guests.values())).heartbeat.metrics
        store = open_store(settings.results, metrics.results_faults.inc)
        self._files = None if store is None else ResultFiles(redis, store)
        shop = Shop(
            settings=settings,
            redis=redis,
            store=store,
            tracing=tracing,
            hands=self._hands,
            company=Company(),
            is_ending=self._ending.is_set,
            on_hang=self._hang,
        )
        self._company = shop.company
        self._lanes = [Lane(guest, shop) for guest in guests.values()]
        self._landlord = self._new_landlord()

    def _hang(self) -> None:
        self.on_hang()

    def _new_landlord(self) -> Landlord:
        worker = self._settings.worker
        limit = worker.models_memory_mb
        for lane in self._lanes:
            lane.stay.is_due = worker.preload == "all" and lane.stay.state == "cold"
        return Landlord(
            self._lanes,
            self._load,
            free_bytes=lambda: free_bytes(self._device),
            limit_bytes=None if limit is None else limit * _MB,
            idle_s=worker.unload_idle_s,
        )

    def _load(self, name: str) -> Machinery:
        """Blocks; on a thread of its own, which begins with what others' threads set last."""
        if self._device.type == "cpu":
            use_threads(self._num_threads)
        return Machinery.load(name, self._settings.hosted[name], self._cores).warmed_up()

    async def run(self) -> int:
        """Work until a signal, then drain. 0 after a clean end, 1 when a part died."""
        loop = asyncio.get_running_loop()
        for number in end_signals():
            loop.add_signal_handler(number, self._on_signal, number)
        for lane in self._lanes:
            lane.begin()
        await self._beat()
        claiming = [self._start(lane.claimer.run()) for lane in self._lanes]
        hands = [self._start(self._hands.drawing.run()), self._start(self._hands.pictures.run())]
        others = [self._start(self._hands.sources.run())]  # nobody waits for what it is at
        others += [self._start(part) for lane in self._lanes for part in lane.parts()]
        others += [self._start(self._sweep()), landlord := self._start(self._landlord.run())]
        if self._files is not None:
            sweeping = self._files.keep_swept(self._settings.queue.sweep_interval_s)
            others.append(self._start(sweeping))
        await self._ending.wait()
        await stop(landlord)
        await self._drain(claiming, hands)
        await stop(*claiming, *hands, *others)
        return 0 if self._death is None else 1

    def _start(self, part: Coroutine[Any, Any, None]) -> _Task:
        task = asyncio.create_task(part)
        task.add_done_callback(self._on_end_of)
        return task

    async def _beat(self) -> None:
        for lane in self._lanes:
            with suppress(QueueUnavailable):
                await lane.heartbeat.beat()

    def _on_end_of(self, part: _Task) -> None:
        """One that fails, which only a bug makes happen, is the end of all."""
        error = None if part.cancelled() else part.exception()
        if error is not None:
            _log.critical("a part of the worker failed", exc_info=error)
            self._death = f"{type(error).__name__}: {error}"
            self._end()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._num_signals == 0 or hurries(number):
            self._num_signals += 1
        self._end()

    def _end(self) -> None:
        self._ending.set()
        for lane in self._lanes:
            lane.leased.ring()

    async def _drain(self, claiming: list[_Task], hands: list[_Task]) -> None:
        """Take no more, finish what runs within the grace time, hand the rest back."""
        _log.info("draining", extra={"num_jobs": self._company.num_runs})
        for lane in self._lanes:
            lane.claimer.is_draining = True
            lane.leased.ring()
        await self._beat()
        await asyncio.wait(claiming, timeout=_LAST_WORDS_S)
        await self._wait_empty(self._settings.worker.drain_grace_s, is_patient=True)
        for lane in self._lanes:
            lane.hand_back(self._death)
        await self._wait_empty(_LAST_WORDS_S)
        self._hands.sources.stop()
        self._hands.drawing.stop()
        self._hands.pictures.stop()
        await asyncio.wait(hands, timeout=_LAST_WORDS_S)
        for lane in self._lanes:
            lane.close()
        _log.info("ended", extra={"num_jobs_left": self._company.num_runs})

    async def _wait_empty(self, timeout_s: float, *, is_patient: bool = False) -> None:
        """Until no lane holds anything, at most so long; a patient one ends at a second signal."""

        def is_over() -> bool:
            return is_patient and (self._num_signals > 1 or self._death is not None)

        await asyncio.gather(
            *(lane.leased.wait_empty(timeout_s, until=is_over) for lane in self._lanes)
        )

    async def _sweep(self) -> None:
        meter = self._lanes[0].meter  # what is swept is counted for all models together
        while True:
            with suppress(QueueUnavailable):
                meter.swept(await self._sweeper.sweep())
            await asyncio.sleep(self._settings.queue.sweep_interval_s)
