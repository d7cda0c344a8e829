from __future__ import annotations

import asyncio
import signal

import pytest

from service.broker.stopping import end_signals, stop


@pytest.mark.usefixtures("hangups")
def test_a_closed_terminal_is_an_end_but_not_under_nohup() -> None:
    assert set(end_signals()) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert set(end_signals()) == {signal.SIGINT, signal.SIGTERM}
    signal.signal(signal.SIGHUP, before)


async def test_a_task_that_misses_its_cancellation_is_asked_again() -> None:
    """As `asyncio.wait_for` of Python 3.11 makes it miss one."""
    missed: list[str] = []

    async def deaf() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if missed:
                    raise
                missed.append("once")

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await stop(task)
    assert task.cancelled()
    assert missed == ["once"]


async def test_tasks_that_have_ended_are_left_alone() -> None:
    async def fails() -> None:
        raise ValueError("nobody asks")

    async def succeeds() -> int:
        return 7

    failed, succeeded = asyncio.create_task(fails()), asyncio.create_task(succeeds())
    await asyncio.wait({failed, succeeded})
    await stop(failed, succeeded)
    assert succeeded.result() == 7


async def test_nothing_to_stop_is_fine() -> None:
    await stop()
