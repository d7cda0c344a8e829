"""Who of a worker's models is in memory: the landlord loads and unloads them, one at a time.

A model comes when it is due at the start, or when a job waits for it; the job stays in the queue
meanwhile, where another worker may take it. It goes when it has had no job for long, or when
another one needs the room: first who was used longest ago, never one whose jobs run. Where all are
busy, one that has had its time takes no more jobs until it is empty. Knows nothing of how a job is
made.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from service.broker.redis_connection import backoff_s
from service.errors import QueueUnavailable
from service.worker.device_memory import Failure, free_device_memory
from service.worker.lane import Lane
from service.worker.model_host import Machinery
from service.worker.signs.resident_meter import UnloadReason
from service.worker.threads import on_own_thread

_LOOK_S = 0.1
_POLL_S = 0.02  # how often it looks whether a model that goes is empty

_log = logging.getLogger(__name__)


class Landlord:
    """Of all lanes. `load` blocks; `free_bytes` says what the device still has, if that is known.

    `limit_bytes` is the most that all models may hold; `idle_s` how long one may have no job.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        load: Callable[[str], Machinery],
        *,
        free_bytes: Callable[[], int | None],
        limit_bytes: int | None,
        idle_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = lanes
        self._load_now = load
        self._free_bytes = free_bytes
        self._limit = limit_bytes
        self._idle_s = math.inf if idle_s is None else idle_s
        self._clock = clock

    async def run(self) -> None:
        """Look after them for ever."""
        failures = 0
        while True:
            try:
                await self.look()
                failures = 0
            except QueueUnavailable:
                failures += 1
                await asyncio.sleep(backoff_s(failures))
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Do what is to be done now. QueueUnavailable when Redis is away."""
        now = self._clock()
        for lane in self._lanes:
            if lane.is_busy:
                lane.stay.used_at = now
        for lane in self._lanes:
            is_idle = lane.stay.state == "ready" and not lane.is_busy
            if is_idle and now - lane.stay.used_at >= self._idle_s:
                await self._unload(lane, "idle")
        await self._bring_wished()

    async def _bring_wished(self) -> None:
        """Load what is wished, in the order of the wishes: a large one is not passed by others."""
        wished = [lane for lane in self._lanes if await self._is_wished(lane)]
        for lane in self._lanes:
            lane.stay.is_leaving = False
        for lane in sorted(wished, key=lambda lane: (not lane.stay.is_due, lane.stay.wished_at)):
            if not await self._has_room(lane):
                return
            await self._load(lane)

    async def _is_wished(self, lane: Lane) -> bool:
        """Whether to load it; jobs for one that just failed to load are ended here."""
        stay = lane.stay
        if stay.state != "cold":
            return False
        if not stay.is_due and not await lane.has_waiting():
            stay.wished_at = math.inf
            return False
        stay.wished_at = min(stay.wished_at, self._clock())
        if self._clock() >= stay.failed_until:
            return True
        if stay.is_refused:
            await lane.turn_away()
        return False

    async def _has_room(self, lane: Lane) -> bool:
        """Whether it fits; if not, make room, as far as that is possible now."""
        if self._limit is not None and lane.stay.num_bytes > self._limit:
            self._fail(lane, f"{lane.stay.num_bytes / 1e6:.0f} MB are more than the limit")
            return False
        now = self._clock()
        others = sorted(self._lanes, key=lambda other: other.stay.used_at)
        for other in others:
            if self._short_bytes(lane) > 0 and not other.is_busy and other.stay.may_go(now):
                await self._unload(other, "memory")
        short = self._short_bytes(lane)
        for other in others:
            if short > 0 and other.stay.may_go(now):
                other.stay.is_leaving = True
                short -= other.stay.num_bytes
        return self._short_bytes(lane) <= 0

    def _short_bytes(self, lane: Lane) -> int:
        """Memory that must become free before it can be loaded; none when it is 0 or less."""
        if self._limit is not None:
            held = sum(each.stay.held_bytes for each in self._lanes)
            return held + lane.stay.num_bytes - self._limit
        free = self._free_bytes()
        is_alone = not any(each.stay.held_bytes for each in self._lanes)
        return 0 if free is None or is_alone else lane.stay.num_bytes - free

    async def _load(self, lane: Lane) -> None:
        stay = lane.stay
        stay.enter("loading")
        _log.info("loading", extra={"preset": lane.model})
        began = self._clock()
        try:
            machinery = await on_own_thread(lambda: self._load_now(lane.model), "loader")
        except Exception as error:
            failure = Failure.of(error)
            stay.enter("cold")
        else:
            await self._admit(lane, machinery, self._clock() - began)
            return
        await on_own_thread(free_device_memory)
        may_pass = failure.is_out_of_memory and stay.num_failures == 0
        self._fail(lane, failure.text, is_to_retry=may_pass)
        idle = [each for each in self._lanes if each.stay.state == "ready" and not each.is_busy]
        if may_pass and idle:
            await self._unload(min(idle, key=lambda each: each.stay.used_at), "memory")

    async def _admit(self, lane: Lane, machinery: Machinery, seconds: float) -> None:
        """Let it in, unless it holds more than was expected: then it waits for the room."""
        stay = lane.stay
        stay.num_bytes = machinery.num_bytes
        held = sum(each.stay.held_bytes for each in self._lanes)
        if self._limit is not None and held > self._limit:
            del machinery
            stay.enter("cold")
            await on_own_thread(free_device_memory)
            return
        lane.open(machinery, seconds)

    def _fail(self, lane: Lane, failure: str, *, is_to_retry: bool = False) -> None:
        lane.stay.fail(self._clock(), is_to_retry=is_to_retry)
        lane.resident.failed()
        _log.error("a model could not be loaded", extra={"preset": lane.model, "failure": failure})

    async def _unload(self, lane: Lane, reason: UnloadReason) -> None:
        """Take no more jobs for it, wait for those that came meanwhile, and let it go."""
        lane.stay.leave()
        while not lane.is_empty:
            await asyncio.sleep(_POLL_S)
        await lane.shut()
        lane.stay.enter("cold")
        await on_own_thread(free_device_memory)
        lane.resident.unloaded(reason)
        _log.info("unloaded", extra={"preset": lane.model, "reason": reason})
