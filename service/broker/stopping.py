"""Ending for certain: by which signals a process does, and its tasks.

On Python 3.11, `asyncio.wait_for` loses a cancellation that comes in the very moment in which its
own future completes (python/cpython#86296), and redis-py calls it for every command. So a task in a
loop of commands may go on after `cancel`: it has to be asked again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

_AGAIN_S = 0.25


def end_signals() -> Iterator[signal.Signals]:
    """SIGHUP comes when a terminal is closed; under `nohup` it is ignored and must stay so."""
    yield from (signal.SIGINT, signal.SIGTERM)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        yield signal.SIGHUP


def hurries(number: int) -> bool:
    """Whether a signal that comes after the first one ends at once what still runs.

    SIGHUP does not: one closed terminal sends it twice, by its shell, and when that has ended.
    """
    return number != signal.SIGHUP


async def stop(*tasks: asyncio.Future[Any]) -> None:
    """Cancel the tasks until each has ended. Their results and errors are let go."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen here, so that asyncio does not report it as never retrieved
