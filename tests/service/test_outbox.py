from __future__ import annotations

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from service.broker.admission import Limits
from service.broker.hook_letters import HookLetters
from service.broker.keys import Key
from service.broker.outbox import Outbox
from service.broker.queue import Queue
from service.errors import WebhooksFull
from service.hooks.webhook import HOOK_EVENTS, HookEvent
from service.jobs import Expired, Failed, Job
from tests.conftest import Clock
from tests.service.makers import (
    ROOMY,
    claim_one,
    drawn,
    make_job,
    make_leases,
    make_queue,
    make_sweeper,
    put,
    success,
)
from tests.service.messages import DAY_S, LEASE_S, claim, hook, make_outbox, one_message


async def told(outbox: Outbox) -> list[str]:
    """The events of the messages that are due."""
    return sorted(message.event for message in await claim(outbox))


async def test_each_change_that_was_asked_for_is_told(every_redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(every_redis, clock), make_leases(every_redis, clock)
    outbox = make_outbox(every_redis, clock)
    job = await put(queue, webhook=hook())
    assert await told(outbox) == []
    running = await claim_one(leases)
    (started,) = await claim(outbox)
    assert (started.id, started.event) == (f"msg_{job.id[4:]}_started", "started")
    assert (started.attempt, started.host, started.job_id) == (1, "shop.example", job.id)
    await leases.finish(running, success(n=1))
    await leases.finish(running, success(n=1))  # its first answer was lost
    (succeeded,) = await claim(outbox)
    assert (succeeded.event, succeeded.at_ms) == ("succeeded", clock())
    assert succeeded.view() == await queue.get(job.id)
    assert started.view().status == "running"  # as it was, though the job has gone on
    assert started.view().images == ()


async def test_every_way_to_end_is_told(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    outbox, sweeper = make_outbox(redis, clock), make_sweeper(redis, clock)
    ends: tuple[HookEvent, ...] = HOOK_EVENTS[1:]
    for outcome in (success(), Failed("x", "y"), Expired()):
        await put(queue, webhook=hook(*ends))
        await leases.finish(await claim_one(leases), outcome)
    assert await told(outbox) == ["expired", "failed", "succeeded"]
    await queue.cancel((await put(queue, webhook=hook(*ends))).id)
    assert await told(outbox) == ["cancelled"]
    await queue.cancel((await put(queue, webhook=hook(*ends))).id)
    await queue.cancel((await put(queue, webhook=hook("succeeded"))).id)  # nobody asked
    assert await told(outbox) == ["cancelled"]
    await put(queue, webhook=hook(*ends), deadline_s=5)
    clock.advance(6)
    await sweeper.sweep()
    assert await told(outbox) == ["expired"]
    await put(queue, webhook=hook(*ends), deadline_s=5)
    clock.advance(6)
    assert (await leases.claim(free_rows=1, num_running=0)).num_expired == 1
    assert await told(outbox) == ["expired"]
    await put(queue, webhook=hook(*ends))
    for _ in range(3):
        await leases.crashed(await claim_one(leases), "boom")
    assert await told(outbox) == ["failed"]


async def test_a_job_that_starts_again_is_told_of_once(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    outbox = make_outbox(redis, clock)
    await put(queue, webhook=hook())
    await leases.release(await claim_one(leases))
    await leases.crashed(await claim_one(leases), "boom")
    await claim_one(leases)
    (message,) = await claim(outbox)
    assert (message.event, message.view().attempts) == ("started", 1)
    assert await outbox.delivered(message) == "delivered"
    clock.advance(11)
    await make_sweeper(redis, clock).sweep()
    await claim_one(leases)
    assert (await outbox.depth()).waiting == 0


async def test_a_job_in_parts_starts_and_ends_once(redis: Redis, clock: Clock) -> None:
    outbox, queue = make_outbox(redis, clock), make_queue(redis, clock)
    job = await put(queue, webhook=hook(), num_candidates=4, n=2)
    sharing = [make_leases(redis, clock, f"w{number}") for number in range(2)]
    claims = [(await leases.claim(free_rows=2, num_running=0)).claims[0] for leases in sharing]
    assert await told(outbox) == ["started"]
    for leases, part in zip(sharing, claims, strict=True):
        await leases.finish(part, drawn(part))
    (succeeded,) = await claim(outbox)
    assert succeeded.view() == await queue.get(job.id)
    assert len(succeeded.view().images) == 2


async def test_a_stale_claim_tells_nothing(redis: Redis, clock: Clock) -> None:
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    await put(queue, webhook=hook("succeeded", "cancelled"))
    stale = await claim_one(leases)
    clock.advance(11)
    await make_sweeper(redis, clock).sweep()
    await queue.cancel((await claim_one(leases)).job.id)
    assert not await leases.finish(stale, success())
    assert await told(make_outbox(redis, clock)) == ["cancelled"]


async def test_a_message_is_leased_and_comes_again(redis: Redis, clock: Clock) -> None:
    outbox = make_outbox(redis, clock)
    await one_message(redis, clock)
    (first,) = await claim(outbox)
    assert await claim(outbox) == []
    clock.advance(LEASE_S + 1)  # its sender has died
    (second,) = await claim(outbox)
    assert (second.id, second.attempt) == (first.id, 2)
    assert await outbox.failed(first, "late word", wait_s=1) == "stale"
    assert await outbox.delivered(first) == "delivered"  # late, but so it is
    assert await outbox.delivered(second) == "stale"
    assert await outbox.failed(second, "x", wait_s=1) == "stale"
    assert (await outbox.depth()).waiting == 0


async def test_a_failure_waits_its_time_and_a_day_ends_it(redis: Redis, clock: Clock) -> None:
    outbox, letters = make_outbox(redis, clock), HookLetters(redis)
    job = await one_message(redis, clock, prompt="a secret")
    (message,) = await claim(outbox)
    assert await outbox.failed(message, "status 500", wait_s=60) == "waits"
    clock.advance(59)
    assert await claim(outbox) == []
    clock.advance(2)
    (message,) = await claim(outbox)
    assert (message.attempt, message.error) == (2, "status 500")
    depth = await outbox.depth()
    assert (depth.waiting, depth.oldest_age_s, depth.letters) == (1, 61.0, 0)
    assert await outbox.failed(message, "status 502", wait_s=DAY_S - 60) == "dead"
    depth = await outbox.depth()
    assert (depth.waiting, depth.oldest_age_s, depth.letters) == (0, 0.0, 1)
    (letter,) = await letters.list()
    assert (letter.id, letter.job, letter.event) == (message.id, job, "cancelled")
    assert (letter.host, letter.error, letter.attempts) == ("shop.example", "status 502", 2)
    assert letter.died_ms == clock()


async def test_a_slow_host_keeps_no_other_waiting(redis: Redis, clock: Clock) -> None:
    outbox = make_outbox(redis, clock)
    for _ in range(20):
        await one_message(redis, clock, webhook=hook("cancelled", host="slow.example"))
    await one_message(redis, clock, webhook=hook("cancelled", host="quick.example"))

    async def hosts(**running: int) -> list[str]:
        named = {f"{name}.example": num for name, num in running.items()}
        found = await outbox.claim(16, per_host=4, running=named)
        return sorted(message.host for message in found)

    assert await hosts() == ["quick.example", *["slow.example"] * 4]
    await one_message(redis, clock, webhook=hook("cancelled", host="quick.example"))
    assert await hosts(slow=4, quick=1) == ["quick.example"]
    assert await hosts(slow=4) == []
    assert await hosts(slow=1) == ["slow.example"] * 3
    assert (await outbox.depth()).waiting == 22


async def test_a_key_whose_messages_pile_up_gets_no_more_webhooks(redis: Redis) -> None:
    queue = make_queue(redis)
    share = Key.HOOK_SHARES.of("shop")
    now_s, now_us = await redis.time()
    waiting = {f"msg_{n}": 1000 * now_s + now_us // 1000 for n in range(10_000)}
    await redis.zadd(share, waiting)
    with pytest.raises(WebhooksFull):
        await put(queue, webhook=hook(), key_id="shop")
    await put(queue, key_id="shop")
    await put(queue, webhook=hook(), key_id="other")
    await redis.zrem(share, "msg_0")
    await put(queue, webhook=hook(), key_id="shop")


async def shares(redis: Redis) -> dict[str, int]:
    """How many messages wait, by API key."""
    names: Any = await redis.keys(Key.HOOK_SHARES.of("*"))
    return {name.decode().rpartition(":")[2]: await redis.zcard(name) for name in names}


async def test_shares_count_what_waits(redis: Redis, clock: Clock) -> None:
    outbox = make_outbox(redis, clock)
    for key_id in ("a", "a", "b"):
        await one_message(redis, clock, key_id=key_id)
    assert await shares(redis) == {"a": 2, "b": 1}
    for message in await claim(outbox):
        if message.view().job.key_id == "a":
            await outbox.delivered(message)
    assert await shares(redis) == {"b": 1}
    clock.advance(LEASE_S + 1)
    (message,) = await claim(outbox)
    await outbox.failed(message, "x", wait_s=0, is_final=True)
    assert await shares(redis) == {}


async def test_what_nobody_sent_for_longer_than_a_day_is_not_counted_any_more(
    redis: Redis, clock: Clock
) -> None:
    """Its hash, and the queue of its host, have died by themselves."""
    outbox = make_outbox(redis, clock)
    await one_message(redis, clock, key_id="a")
    names: Any = await redis.keys(Key.HOOK.of("*"))
    await redis.delete(*names, Key.HOOKS.of("shop.example"))
    clock.advance(DAY_S + 3601)
    await one_message(redis, clock, key_id="a", webhook=hook("cancelled", host="other.example"))
    depth = await outbox.depth()
    assert (depth.waiting, depth.oldest_age_s) == (1, 0.0)
    assert await shares(redis) == {"a": 1}


async def test_a_message_whose_hash_is_gone_is_forgotten(redis: Redis, clock: Clock) -> None:
    outbox = make_outbox(redis, clock)
    await one_message(redis, clock)
    names: Any = await redis.keys(Key.HOOK.of("*"))
    await redis.delete(*names)
    assert await claim(outbox) == []
    assert (await outbox.depth()).waiting == 0


async def test_every_key_of_a_message_dies(redis: Redis) -> None:
    outbox, queue = make_outbox(redis), make_queue(redis)
    for _ in range(2):
        await queue.cancel((await put(queue, webhook=hook())).id)
    first, _ = await claim(outbox)
    await outbox.failed(first, "x", wait_s=0, is_final=True)
    names: Any = await redis.keys("{mindalle}:hook*")
    assert len(names) == 7
    assert all([await redis.pttl(name) > 0 for name in names])


async def test_a_job_keeps_its_webhook_and_one_without_says_nothing_of_it(redis: Redis) -> None:
    job = make_job(webhook=hook("failed"))
    assert Job.from_json(job.to_json()) == job
    assert "webhook" not in json.loads(make_job().to_json())
    later = json.loads(job.to_json())
    later["webhook"] |= {"events": ["failed", "painted"], "wings": 2}
    assert Job.from_json(json.dumps(later)).webhook == job.webhook


async def test_a_job_without_a_webhook_leaves_no_trace(redis: Redis) -> None:
    queue: Queue = make_queue(redis)
    await queue.enqueue(make_job(), Limits(1, 100, 100, 1.0, 1))
    await make_leases(redis).finish(await claim_one(make_leases(redis)), success())
    assert await redis.keys("{mindalle}:hook*") == []
    await queue.enqueue(make_job(), ROOMY)
