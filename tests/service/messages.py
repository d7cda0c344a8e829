"""An outbox, and messages in it, for tests of what becomes of them."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from service.broker.outbox import Message, Outbox
from service.hooks.webhook import HOOK_EVENTS, HookEvent, Webhook
from service.jobs import Job
from tests.conftest import Clock
from tests.service.makers import (
    make_queue,
    put,
)

LEASE_S = 30.0
DAY_S = 86_400.0


def hook(*events: HookEvent, host: str = "shop.example") -> Webhook:
    """A webhook for these events, or for all."""
    return Webhook(f"https://{host}/h", host, events or HOOK_EVENTS, "https://pics.example")


def make_outbox(redis: Redis, clock: Clock | None = None) -> Outbox:
    return Outbox(redis, lease_s=LEASE_S, letter_ttl_s=1000.0, clock=clock)


async def claim(outbox: Outbox, limit: int = 100, **running: int) -> list[Message]:
    return await outbox.claim(limit, per_host=100, running=running)


async def one_message(redis: Redis, clock: Clock, **changes: Any) -> Job:
    """A job that was cancelled, which waits to be told."""
    queue = make_queue(redis, clock)
    job = await put(queue, webhook=changes.pop("webhook", hook("cancelled")), **changes)
    await queue.cancel(job.id)
    return job
