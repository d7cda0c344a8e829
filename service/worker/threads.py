"""Threads of the worker, as the event loop sees them. Knows no jobs."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TypeVar

_T = TypeVar("_T")


def call_on(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """From any thread. A loop that is closed lets it pass: the process ends."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


async def on_own_thread(work: Callable[[], _T], name: str | None = None) -> _T:
    """Run `work` on a thread that ends with it, and with the thread its OpenMP team.

    The thread keeps no process alive, though it may hang in the device. Raises what `work` raises.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[_T] = loop.create_future()

    def settle(tell: Callable[[], None]) -> None:
        call_on(loop, lambda: None if ended.done() else tell())  # done: cancelled

    def run() -> None:
        try:
            done = work()
        except BaseException as error:  # whatever it was: whoever waits shall know
            settle(partial(ended.set_exception, error))
        else:
            settle(partial(ended.set_result, done))

    threading.Thread(target=run, name=name, daemon=True).start()
    return await ended


class Hand:
    """A thread that does what it is given, one thing after the other, inside `around`."""

    def __init__(self, name: str, around: Callable[[], AbstractContextManager[object]]) -> None:
        self._name = name
        self._around = around
        self._inbox: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()

    def put(self, work: Callable[[], object]) -> None:
        """Take some work. From any thread."""
        self._inbox.put(work)

    async def run(self) -> None:
        """Work until `stop`. Raises what any work raised."""
        await on_own_thread(self._work, self._name)

    def stop(self) -> None:
        """End when all that was put before is done."""
        self._inbox.put(None)

    async def settled(self) -> None:
        """Wait until all that was put before is done."""
        await passed_through(self.put)

    def _work(self) -> None:
        with self._around():
            while (work := self._inbox.get()) is not None:
                work()
                del work  # it may hold the last reference to a model


async def passed_through(put: Callable[[Callable[[], object]], object]) -> None:
    """Wait until what is put has its turn on the other side."""
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()
    put(lambda: call_on(loop, reached.set))
    await reached.wait()
