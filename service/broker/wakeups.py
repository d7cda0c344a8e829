"""Who waits for which job, and what wakes them: one Redis subscription per process.

A message is a hint that saves time, never a fact: whoever is woken looks at the job again, and
looks now and then without being woken, so that a lost message costs a second and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.redis_connection import backoff_s, translated_errors
from service.broker.stopping import stop
from service.errors import QueueUnavailable
from service.jobs import TERMINAL

_log = logging.getLogger(__name__)


async def messages(redis: Redis, channel: Key) -> AsyncIterator[str | None]:
    """Messages of a channel for ever, with reconnects; None after each (re)connect."""
    failures = 0
    while True:
        try:
            async for message in _subscription(redis, channel):
                failures = 0
                yield message
        except QueueUnavailable:
            failures += 1
            if failures == 1:
                _log.warning("lost the subscription to Redis; trying again")
            await asyncio.sleep(backoff_s(failures))


async def _subscription(redis: Redis, channel: Key) -> AsyncIterator[str | None]:
    async with translated_errors(), redis.pubsub() as pubsub:
        await pubsub.subscribe(channel.value)
        while True:
            message = await pubsub.get_message(timeout=5.0)
            if message is None:
                continue
            is_hint = message["type"] == "message"
            yield message["data"].decode(errors="replace") if is_hint else None


class Watch:
    """One waiter. `changed` returns when its job may have changed, or after `poll_s`."""

    def __init__(self, only_end: bool) -> None:
        self.only_end = only_end
        self._event = asyncio.Event()

    @property
    def is_woken(self) -> bool:
        """True when the next `changed` returns at once."""
        return self._event.is_set()

    def wake(self) -> None:
        """Let the waiter look again."""
        self._event.set()

    async def changed(self, poll_s: float) -> None:
        """Wait for the next wake-up since the last call, at most `poll_s`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), poll_s)
        self._event.clear()


class Wakeups:
    """The subscription of this process and its waiters."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._watches: dict[str, set[Watch]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Subscribe in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="wakeups")

    async def close(self) -> None:
        """End the subscription."""
        if self._task is not None:
            await stop(self._task)
            self._task = None

    @contextmanager
    def watch(self, job_id: str, *, only_end: bool) -> Iterator[Watch]:
        """A Watch on the job; with `only_end` it ignores all events but the last."""
        watch = Watch(only_end)
        self._watches.setdefault(job_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[job_id].discard(watch)
            if not self._watches[job_id]:
                del self._watches[job_id]

    @property
    def num_watched(self) -> int:
        """Jobs that someone waits for."""
        return len(self._watches)

    async def _run(self) -> None:
        async for message in messages(self._redis, Key.NOTIFY):
            if message is None:
                self._wake_all()
            else:
                job_id, _, event = message.partition(" ")
                self._wake(job_id, event)

    def _wake(self, job_id: str, event: str) -> None:
        for watch in self._watches.get(job_id, ()):
            if event in TERMINAL or not watch.only_end:
                watch.wake()

    def _wake_all(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()
