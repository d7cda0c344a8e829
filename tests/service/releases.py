"""Some of everything that a release leaves in Redis, written down as JSON and loaded again.

The last release ran the same `play`; tests/data/last_release/README.md tells how.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from service.broker.admission import Idempotency
from service.broker.workers import WorkerInfo, Workers
from service.jobs import Failed, Image, Priority, Progress, Succeeded
from tests.conftest import Clock
from tests.service.makers import ROOMY, claim_one, make_job, make_leases, make_queue, put

SUCCEEDED, RUNNING, WAITING, FAILED, BURIED = (f"job_{letter * 26}" for letter in "abcde")
IDEMPOTENCY = Idempotency("order-7", "d" * 64)
BODY = {
    "prompt": "a red heart",
    "n": 2,
    "num_candidates": 4,
    "seed": 7,
    "top_k": 16,
    "top_p": 0.9,
    "temperature": 0.7,
    "partial_images": 1,
    "priority": "high",
    "user": "u1",
}
RECIPE: dict[str, Any] = {
    "prompt": "a röd 🍎",
    "seed": 2**53 - 1,
    "n": 2,
    "num_candidates": 4,
    "top_k": 16,
    "top_p": 0.9,
    "temperature": 0.7,
}
_OTHERS: dict[str, Any] = {
    "priority": Priority.HIGH,
    "output_format": "webp",
    "size": "32x32",
    "partial_images": 1,
    "embed_prompt": False,
    "prompt_len": 8,
    "codes_per_candidate": 16,
    "key_id": "k1",
    "request_id": "req_1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


def info(card: Any) -> WorkerInfo:
    """A worker's sign of life, with the card of its model."""
    return WorkerInfo(
        id="w1",
        state="ready",
        card=card,
        rows_total=8,
        rows_busy=3,
        candidates_per_s=2.5,
        num_steps=100,
        is_progressing=True,
        version="0.1.0",
    )


async def play(redis: Redis, clock: Clock, card: Any) -> None:
    """A job that succeeded, one that failed, a dead letter, one that runs and one that waits."""
    queue, leases = make_queue(redis, clock), make_leases(redis, clock)
    await Workers(redis).heartbeat(info(card))
    await put(queue, id=SUCCEEDED, **RECIPE, **_OTHERS)
    claim = await claim_one(leases, 4)
    await leases.publish(claim, "partial_image", {"index": 0, "candidate": 0}, b"partial")
    images = (Image(0, 3, 0.25, b"best"), Image(1, 1, 0.0, b"second"))
    timings_s = {"queue_wait": 0.5, "decode": 1.5}
    await leases.finish(claim, Succeeded(images, "32x32", timings_s, prompt_truncated=True))
    await put(queue, id=FAILED)
    await leases.finish(await claim_one(leases), Failed("model_error", "It could not."))
    await put(queue, id=BURIED)
    while await redis.xlen("{mindalle}:dead") == 0:
        await leases.crashed(await claim_one(leases), "boom")
    await put(queue, id=RUNNING, **RECIPE, **_OTHERS)
    claim = await claim_one(leases, 4)
    await leases.renew([claim], {claim.id: Progress(24, 64, "decode")})
    progress = {"codes_done": 24, "codes_total": 64, "stage": "decode"}
    await leases.publish(claim, "progress", progress)
    await queue.enqueue(make_job(id=WAITING, **RECIPE, **_OTHERS), ROOMY, IDEMPOTENCY)


async def written(redis: Any) -> dict[str, Any]:
    """All keys but the tickets, which the sweep makes good: name → type and content."""
    names = sorted(await redis.keys("*"))
    return {
        name.decode(): await _content(redis, name) for name in names if b":tickets:" not in name
    }


async def _content(redis: Any, name: bytes) -> dict[str, Any]:
    kind = (await redis.type(name)).decode()
    value: Any
    match kind:
        case "string":
            value = (await redis.get(name)).decode()
        case "hash":
            value = _texts(await redis.hgetall(name))
        case "set":
            value = sorted(item.decode() for item in await redis.smembers(name))
        case "zset":
            pairs = await redis.zrange(name, 0, -1, withscores=True)
            value = {item.decode(): score for item, score in pairs}
        case "stream":
            value = [[at.decode(), _texts(entry)] for at, entry in await redis.xrange(name)]
    return {"type": kind, "value": value}


def _texts(values: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in sorted(values.items())}


async def load(redis: Any, keys: dict[str, Any]) -> None:
    """Put back what `written` gave."""
    for name, content in keys.items():
        value = content["value"]
        match content["type"]:
            case "string":
                await redis.set(name, value)
            case "hash":
                await redis.hset(name, mapping=value)
            case "set":
                await redis.sadd(name, *value)
            case "zset":
                await redis.zadd(name, value)
            case "stream":
                for entry_id, entry in value:
                    await redis.xadd(name, entry, id=entry_id)
