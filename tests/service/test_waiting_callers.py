"""Callers who wait for their images: counted as long as they do, and missed when they leave."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.service.live_api import LiveApi
from tests.service.live_worker import until
from tests.service.painter import TEXT_CARD, Painter

PATH = "/v1/images/generations"
CANCELLED = 'mindalle_jobs_cancelled_total{model="tiny"}'


async def _asked(api: LiveApi, values: dict[str, Any]) -> asyncio.StreamWriter:
    """The connection of a caller who has sent a request and reads nothing."""
    body = json.dumps(values).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (PATH.encode(), len(body), body)
    )
    return writer


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_cancels_its_job(
    api: LiveApi, painter: Painter, stream: bool
) -> None:
    painter.gate.clear()
    writer = await _asked(api, {"prompt": "a", "stream": stream})
    await until(lambda: painter.running)
    writer.close()
    await until(lambda: painter.evicted)
    await until(lambda: api.state.num_waiting == 0)
    assert await api.metric("mindalle_http_hang_ups_total") == 1.0
    assert await api.metric(CANCELLED) == 1.0


async def test_a_hang_up_before_a_worker_had_the_job_is_counted(api: LiveApi, redis: Redis) -> None:
    await Painter(redis, TEXT_CARD).announce()  # it lives, but takes no jobs
    writer = await _asked(api, {"prompt": "a"})
    await until(lambda: api.state.num_waiting == 1)
    writer.close()
    await until(lambda: api.state.num_waiting == 0)
    assert await api.metric(CANCELLED) == 1.0


async def test_a_caller_waits_through_a_slow_job(
    http: httpx.AsyncClient, api: LiveApi, painter: Painter
) -> None:
    painter.gate.clear()
    waiting = asyncio.create_task(http.post(PATH, json={"prompt": "a"}))
    await until(lambda: painter.running)
    assert api.state.num_waiting == 1
    painter.gate.set()
    assert (await waiting).status_code == 200
    assert await api.metric('mindalle_jobs_admitted_total{model="tiny"}') == 1.0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_is_waited_for_from_before_its_job_is_queued(
    http: httpx.AsyncClient, api: LiveApi, painter: Painter, redis: Redis, stream: bool
) -> None:
    """Else an API that is stopped in between closes at once, and a worker draws for nobody."""
    await http.get("/v1/models")
    await redis.client_pause(60_000, all=False)  # nothing is written
    waiting = asyncio.create_task(http.post(PATH, json={"prompt": "a", "stream": stream}))
    try:
        await until(lambda: api.state.num_waiting == 1)
    finally:
        await redis.client_unpause()
    assert (await waiting).status_code == 200
    await until(lambda: api.state.num_waiting == 0)
