from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.wakeups import Wakeups


async def subscribed(redis: Redis) -> None:
    """Return when someone listens."""
    async with asyncio.timeout(20):
        while not (await redis.pubsub_numsub(Key.NOTIFY.value))[0][1]:
            await asyncio.sleep(0.01)


async def test_one_subscription_wakes_the_right_waiters(redis: Redis) -> None:
    wakeups = Wakeups(redis)
    wakeups.start()
    wakeups.start()  # once is enough
    await subscribed(redis)
    assert (await redis.pubsub_numsub(Key.NOTIFY.value))[0][1] == 1
    with (
        wakeups.watch("job_a", only_end=True) as end,
        wakeups.watch("job_a", only_end=False) as every,
        wakeups.watch("job_b", only_end=False) as other,
    ):
        await asyncio.gather(*(watch.changed(0.1) for watch in (end, every, other)))
        await redis.publish(Key.NOTIFY.value, "job_a progress")
        await asyncio.wait_for(every.changed(60), 20)
        assert not end.is_woken
        await redis.publish(Key.NOTIFY.value, "job_a succeeded")
        await asyncio.wait_for(end.changed(60), 20)
        assert not other.is_woken
    await wakeups.close()
    await wakeups.close()


async def test_a_message_that_is_none_of_ours_is_passed_over(redis: Redis) -> None:
    wakeups = Wakeups(redis)
    wakeups.start()
    await subscribed(redis)
    with wakeups.watch("job_a", only_end=True) as end:
        await end.changed(0.1)
        for message in (b"hello", b"\xff", b"job_a succeeded"):
            await redis.publish(Key.NOTIFY.value, message)
        await asyncio.wait_for(end.changed(60), 20)
    await wakeups.close()


async def test_a_lost_message_costs_only_the_poll(redis: Redis) -> None:
    wakeups = Wakeups(redis)  # not started: no message ever comes
    with wakeups.watch("job_a", only_end=False) as watch:
        await asyncio.wait_for(watch.changed(0.05), 20)
        assert not watch.is_woken


async def test_waiters_leave_nothing_behind(redis: Redis) -> None:
    wakeups = Wakeups(redis)
    with wakeups.watch("job_a", only_end=False), wakeups.watch("job_a", only_end=True):
        assert wakeups.num_watched == 1
    assert wakeups.num_watched == 0
