from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from service.errors import StartRefused
from tests.servers import RedisServer
from tests.service.hooked import hooked, hooking
from tests.service.painter import Painter
from tests.service.receiver import SECRET, receiving


@pytest.mark.parametrize(
    ("webhook", "param"),
    [
        ({"url": "http://169.254.169.254/latest"}, "webhook.url"),
        ({"url": "https://2130706433/"}, "webhook.url"),
        ({"url": "https://me@shop.example/"}, "webhook.url"),
        ({"url": "https://shop.example:22/"}, "webhook.url"),
        ({"url": "shop.example"}, "webhook.url"),
        ({"url": "https://shop.example/", "events": ["queued"]}, "webhook.events"),
        ({"url": "https://shop.example/", "events": []}, "webhook.events"),
        ({"events": ["failed"]}, "webhook.url"),
        ({"url": "https://shop.example/", "secret": "x"}, "webhook"),
    ],
)
async def test_a_webhook_that_can_not_be_is_refused_by_its_field(
    redis: Redis, valkey_server: RedisServer, painter: Painter, webhook: Any, param: str
) -> None:
    async with hooked(valkey_server, ports="443") as (_, _, http):
        answer = await http.post("/v1/jobs", json={"prompt": "a", "webhook": webhook})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["message"].startswith(param)


async def test_a_job_whose_messages_would_fill_redis_has_no_webhook(
    redis: Redis, valkey_server: RedisServer, painter: Painter
) -> None:
    """Each character of these takes four bytes in the request, and twelve in the message."""
    async with hooked(valkey_server) as (receiver, _, http):
        asked = {"prompt": "🍎" * 1400, "webhook": {"url": f"http://127.0.0.1:{receiver.port}/h"}}
        answer = await http.post("/v1/jobs", json=asked)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
        assert (await http.post("/v1/jobs", json={"prompt": asked["prompt"]})).status_code == 202
        shorter = asked | {"prompt": "🍎" * 1200}
        assert (await http.post("/v1/jobs", json=shorter)).status_code == 202


async def test_without_a_secret_there_are_no_webhooks(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    webhook = {"url": "https://shop.example/"}
    answer = await http.post("/v1/jobs", json={"prompt": "a", "webhook": webhook})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "webhook")
    assert "MINDALLE_WEBHOOKS__SECRETS" in error["message"]
    sync = await http.post("/v1/images/generations", json={"prompt": "a", "webhook": webhook})
    assert sync.json()["error"]["code"] == "unknown_parameter"


async def test_a_secret_for_a_key_that_there_is_not_stops_the_start(
    valkey_server: RedisServer,
) -> None:
    async with receiving() as receiver:
        with pytest.raises(StartRefused, match="no API key named 'shpo'"):
            async with hooking(
                valkey_server,
                receiver,
                keys="shop:a-key-of-the-shop",
                secrets=SecretStr(f"shpo={SECRET}"),
            ):
                pass
