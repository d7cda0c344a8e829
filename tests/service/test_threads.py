from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from functools import partial

import pytest

from service.broker.stopping import stop
from service.worker.threads import Hand, call_on, on_own_thread


async def test_work_on_its_own_thread_leaves_none_behind() -> None:
    seen: list[threading.Thread] = []

    def work() -> int:
        seen.append(threading.current_thread())
        return 7

    assert await on_own_thread(work) == 7
    await asyncio.to_thread(seen[0].join, 5)
    assert not seen[0].is_alive()


async def test_its_error_arrives() -> None:
    def work() -> None:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await on_own_thread(work)


async def test_a_thread_that_hangs_keeps_nobody_who_stops_waiting() -> None:
    gate, seen = threading.Event(), list[threading.Thread]()

    def hang() -> None:
        seen.append(threading.current_thread())
        gate.wait(30)

    waiting = asyncio.create_task(on_own_thread(hang, "hangs"))
    while not seen:
        await asyncio.sleep(0.01)
    await stop(waiting)
    assert seen[0].is_alive()
    assert (seen[0].name, seen[0].daemon) == ("hangs", True)
    gate.set()
    await asyncio.to_thread(seen[0].join, 5)  # what it tells the loop now is let pass


def test_a_loop_that_is_closed_is_told_nothing() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    call_on(loop, lambda: pytest.fail("called"))


async def test_a_hand_does_all_that_it_got_in_order() -> None:
    done: list[int] = []
    hand = Hand("hand", nullcontext)
    working = asyncio.create_task(hand.run())
    for number in range(3):
        hand.put(partial(done.append, number))
    await hand.settled()
    assert done == [0, 1, 2]
    hand.put(lambda: done.append(3))
    hand.stop()
    await working
    assert done == [0, 1, 2, 3]


async def test_what_a_hand_stumbles_over_ends_it() -> None:
    hand = Hand("hand", nullcontext)
    hand.put(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        await hand.run()
