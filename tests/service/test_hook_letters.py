from __future__ import annotations

import pytest
from redis.asyncio import Redis

from service.broker.hook_letters import HookLetters
from service.broker.keys import Key
from service.errors import NotFound
from tests.conftest import Clock
from tests.service.messages import claim, make_outbox, one_message


async def test_letters_are_sent_again_or_thrown_away(redis: Redis, clock: Clock) -> None:
    outbox, letters = make_outbox(redis, clock), HookLetters(redis)
    for _ in range(3):
        await one_message(redis, clock)
    for message in await claim(outbox):
        assert await outbox.failed(message, "gone", wait_s=1, is_final=True) == "dead"
    first, second, third = await letters.list()
    assert len(await letters.list(limit=2)) == 2
    await letters.retry(first.id)
    await letters.drop(second.id)
    assert [letter.id for letter in await letters.list()] == [third.id]
    for gone in (first.id, second.id, "msg_nonsense"):
        with pytest.raises(NotFound):
            await letters.retry(gone)
        with pytest.raises(NotFound):
            await letters.drop(gone)
    (again,) = await claim(make_outbox(redis))
    assert (again.id, again.attempt) == (first.id, 1)
    assert await redis.exists(Key.HOOK.of(second.id)) == 0


async def test_no_more_letters_are_kept_than_may_be(redis: Redis, clock: Clock) -> None:
    outbox = make_outbox(redis, clock)
    letters = {f"msg_{n:05}_failed": clock() - 10_000 + n for n in range(10_000)}
    await redis.zadd(Key.HOOK_LETTERS.of(), letters)
    await redis.hset(Key.HOOK.of("msg_00000_failed"), "hook_event", "failed")
    await one_message(redis, clock)
    (message,) = await claim(outbox)
    await outbox.failed(message, "x", wait_s=0, is_final=True)
    assert await redis.zcard(Key.HOOK_LETTERS.of()) == 10_000
    assert await redis.exists(Key.HOOK.of("msg_00000_failed")) == 0


async def test_letters_that_are_too_old_are_not_counted(redis: Redis, clock: Clock) -> None:
    outbox = make_outbox(redis, clock)
    for _ in range(2):
        await one_message(redis, clock)
        (message,) = await claim(outbox)
        await outbox.failed(message, "x", wait_s=0, is_final=True)
        clock.advance(1001)
    assert (await outbox.depth()).letters == 1
