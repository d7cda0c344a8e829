"""Threads of the worker, as the event loop sees them. Knows no jobs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
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
