from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from service.broker.admission import Idempotency, Limits
from service.broker.dead_letters import DeadLetters
from service.broker.keys import GROUP, ROUTE, Key
from service.broker.leases import Leases
from service.broker.queue import Queue
from service.jobs import Expired, Failed, Outcome, Priority
from tests.service.makers import (
    MODEL,
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

# While jobs live, the sweep owns these: it ends every job at its deadline.
OWNED = (
    Key.JOB,
    Key.WAITING,
    Key.ISOLATED,
    Key.ARRIVED,
    Key.LEASES,
    Key.LIVE,
    Key.LOAD,
    Key.SHARES,
    Key.REST,
    Key.ALONE,
    Key.PARTS,
)
# These outlast the last job for a while, and have a time to live.
LASTING = (Key.TICKETS, Key.FAIR, Key.FINISH, Key.DRAIN, Key.MODELS, Key.DEAD, Key.RECEIPT)


def kind(name: bytes) -> Key:
    """The template that this key was made from."""
    found = [key for key in Key if name.decode().startswith(key.value.partition("%s")[0])]
    return max(found, key=lambda key: len(key.value))


async def kinds(redis: Redis) -> set[Key]:
    """Kinds of all keys that are there."""
    names: Any = await redis.keys("*")
    return {kind(name) for name in names}


async def immortal(redis: Redis) -> set[Key]:
    """Kinds of the keys that have no time to live."""
    names: Any = await redis.keys("*")
    return {kind(name) for name in names if await redis.pttl(name) == -1}


def test_all_names_share_one_slot() -> None:
    assert all(key.value.startswith(ROUTE) for key in Key)


async def work(queue: Queue, leases: Leases) -> None:
    """Some of everything; jobs are left waiting, running and isolated."""
    quick = Limits(10_000, 100_000, 100_000, 1000.0, 100)
    for number in range(8):
        job = make_job(key_id=f"k{number % 3}", priority=Priority(number % 3))
        await queue.enqueue(job, quick, Idempotency(f"order-{number}", "d"))
    outcomes: list[Outcome] = [success(n=1), Failed("x", "y"), Expired()]
    for outcome in outcomes:
        claim = await claim_one(leases)
        await leases.publish(claim, "partial_image", {"index": 0}, b"png")
        await leases.finish(claim, outcome)
    await leases.crashed(await claim_one(leases), "boom")
    await leases.claim(free_rows=1, num_running=1)  # makes room for the isolated job
    await put(queue, deadline_s=0.001)
    await queue.cancel((await put(queue)).id)
    for _ in range(3):
        await claim_one(leases)
    await put(queue, num_candidates=6)
    done, _, crashed = [
        (await leases.claim(free_rows=1, num_running=1)).claims[0] for _ in range(3)
    ]
    await leases.finish(done, drawn(done))
    await leases.crashed(crashed, "boom")


async def end_all(redis: Redis, queue: Queue, leases: Leases) -> None:
    """Finish what waits, cancel what runs."""
    while (await queue.depth(MODEL)).candidates:
        for claim in (await leases.claim(free_rows=9, num_running=0)).claims:
            await leases.finish(claim, success())
        names: Any = await redis.zrange(Key.LEASES.of(MODEL), 0, -1)
        for name in names:
            await queue.cancel(name.decode())
        await make_sweeper(redis).sweep()


async def test_every_key_dies_or_has_an_owner(redis: Redis) -> None:
    queue = make_queue(redis, result_ttl_s=0.05, idempotency_ttl_s=0.05)
    leases = make_leases(redis)
    await work(queue, leases)
    assert await immortal(redis) <= set(OWNED)
    await end_all(redis, queue, leases)
    assert await immortal(redis) == set()
    async with asyncio.timeout(20):
        while await kinds(redis) - set(LASTING):
            await asyncio.sleep(0.05)


async def test_dead_letters_and_their_jobs_have_a_time_to_live(redis: Redis) -> None:
    queue, leases = make_queue(redis), make_leases(redis)
    await put(queue)
    for _ in range(3):
        await leases.crashed(await claim_one(leases), "boom")
    assert len(await DeadLetters(redis, result_ttl_s=1).list()) == 1
    assert await immortal(redis) == set()


async def test_an_operators_deletions_are_made_good(redis: Redis) -> None:
    queue, leases, sweeper = make_queue(redis), make_leases(redis), make_sweeper(redis)
    kept, gone, lost = [await put(queue, num_candidates=2) for _ in range(3)]
    await redis.delete(Key.TICKETS.of(MODEL), Key.JOB.of(gone.id))
    await redis.zrem(Key.ARRIVED.of(MODEL), lost.id)
    await sweeper.sweep()
    (group,) = await redis.xinfo_groups(Key.TICKETS.of(MODEL))
    assert group["lag"] == 3
    claimed = await leases.claim(free_rows=99, num_running=0)
    assert [claim.job for claim in claimed.claims] == [kept, lost]
    for claim in claimed.claims:
        assert await leases.finish(claim, success())
    await redis.xgroup_destroy(Key.TICKETS.of(MODEL), GROUP)
    await sweeper.sweep()
    depth = await queue.depth(MODEL)
    assert (depth.waiting, depth.running, depth.candidates) == (0, 0, 0)
    assert (await queue.enqueue(make_job(), ROOMY)).position == 0
    (group,) = await redis.xinfo_groups(Key.TICKETS.of(MODEL))
    assert group["lag"] == 1
