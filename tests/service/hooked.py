"""An API that tells a receiver of its jobs, and what tests of that ask of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from pydantic import SecretStr
from redis.asyncio import Redis
from standardwebhooks import Webhook

from service.broker.keys import Key
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.receiver import SECRET, Answer, Received, Receiver, receiving, status

WAIT_S = 30.0
KEYS = "shop:a-key-of-the-shop,other:a-key-of-another"


@asynccontextmanager
async def hooking(
    server: RedisServer, receiver: Receiver, *, keys: str = "", **changes: Any
) -> AsyncIterator[LiveApi]:
    """An API that may send to the receiver, and tries again at once."""
    webhooks = {"secrets": SecretStr(SECRET), "allow_http": True, "allowed": "127.0.0.1"}
    webhooks |= {"ports": str(receiver.port), "retry_s": 0.01, "timeout_s": 5}
    roomy = {"key_rate_per_s": 100_000, "key_burst": 100_000, "sweep_interval_s": 0.05}
    settings = api_settings(
        server, api_keys=SecretStr(keys), queue=roomy, webhooks=webhooks | changes
    )
    async with serving(settings) as api:
        yield api


@asynccontextmanager
async def hooked(
    server: RedisServer, answer: Answer = lambda _: status(200), **changes: Any
) -> AsyncIterator[tuple[Receiver, LiveApi, httpx.AsyncClient]]:
    """A receiver, an API that sends to it, and a client of the API."""
    async with (
        receiving(answer) as receiver,
        hooking(server, receiver, **changes) as api,
        api.client() as http,
    ):
        yield receiver, api, http


async def create(http: httpx.AsyncClient, receiver: Receiver, **body: Any) -> dict[str, Any]:
    webhook = {"url": f"http://127.0.0.1:{receiver.port}/h"} | body.pop("webhook", {})
    body = {"prompt": "a cat", "seed": 1, "webhook": webhook} | body
    answer = await http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def verified(got: Received, secret: str = SECRET) -> dict[str, Any]:
    """The message, if the library's own verifier takes it."""
    message: dict[str, Any] = Webhook(secret).verify(got.body, got.headers)
    return message


async def until_got(receiver: Receiver, num: int) -> list[dict[str, Any]]:
    """The first messages that came, verified."""
    async with asyncio.timeout(WAIT_S):
        while len(receiver.got) < num:
            await asyncio.sleep(0.01)
    return [verified(got) for got in receiver.got]


async def until(api: LiveApi, sample: str, value: float) -> None:
    async with asyncio.timeout(WAIT_S):
        while await api.metric(sample) < value:
            await asyncio.sleep(0.05)


async def due_now(redis: Redis, receiver: Receiver) -> None:
    """End the lease of the first message that came."""
    await redis.zadd(Key.HOOKS.of("127.0.0.1"), {receiver.got[0].headers["webhook-id"]: 0})
    await redis.zadd(Key.HOOK_HOSTS.of(), {"127.0.0.1": 0})
