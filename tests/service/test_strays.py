"""Jobs that Redis takes and does not say so in time: nobody is told of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from service.broker.queue import Queue
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.makers import put
from tests.service.painter import TEXT_CARD, Painter

_BODY = {"prompt": "a red cube"}
_ITS_STORING = re.compile(rb"a red cube")
_LOOKING_AT_IT = re.compile(rb'\{"id": "job_\w{26}"\}')
_CANCELLED = 'mindalle_jobs_cancelled_total{model="tiny"}'


class SlowWay:
    """A way to Redis on which some requests are late: they arrive once they are let go, be their
    sender still there or not. All others pass.
    """

    def __init__(self, target: int, late: re.Pattern[bytes]) -> None:
        self._target = target
        self._late = late
        self.let_go = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        source, sink = await asyncio.open_connection("127.0.0.1", self._target)
        back = asyncio.create_task(_carry(source, writer))
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self._late.search(data):
                    await self.let_go.wait()
                sink.write(data)
        sink.close()  # when all is sent
        await back


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@pytest.fixture
async def listed(redis: Redis) -> Painter:
    """A worker that lives and takes no jobs."""
    painter = Painter(redis, TEXT_CARD)
    await painter.announce()
    return painter


@asynccontextmanager
async def _slow_api(
    server: RedisServer, queue: Queue, late: re.Pattern[bytes] = _ITS_STORING
) -> AsyncIterator[tuple[LiveApi, SlowWay]]:
    """The API behind such a way, after a first job."""
    way = SlowWay(server.port, late)
    listener = await asyncio.start_server(way.handle, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = {"url": SecretStr(f"redis://127.0.0.1:{port}/0"), "timeout_s": 0.5}
    await queue.cancel((await put(queue)).id)  # so that Redis has the scripts
    async with serving(api_settings(server, redis=url)) as api:
        yield api, way
    listener.close()


async def _until_cancelled(api: LiveApi) -> None:
    async with asyncio.timeout(30):
        while await api.metric(_CANCELLED) == 0:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/jobs"])
async def test_a_job_that_gets_into_the_queue_too_late_is_cancelled(
    listed: Painter, valkey_server: RedisServer, queue: Queue, path: str
) -> None:
    async with _slow_api(valkey_server, queue) as (api, way), api.client() as http:
        refused = await http.post(path, json=_BODY)
        assert refused.json()["error"]["code"] == "queue_unavailable"
        assert (await queue.depth("tiny")).waiting == 0
        way.let_go.set()
        await _until_cancelled(api)
        assert (await queue.depth("tiny")).waiting == 0


async def test_a_job_that_its_idempotency_key_will_find_is_left_alone(
    listed: Painter, valkey_server: RedisServer, queue: Queue
) -> None:
    named: dict[str, Any] = {"json": _BODY, "headers": {"idempotency-key": "order-17"}}
    async with _slow_api(valkey_server, queue) as (api, way), api.client() as http:
        assert (await http.post("/v1/jobs", **named)).status_code == 503
        assert (await http.post("/v1/jobs", json=_BODY)).status_code == 503
        way.let_go.set()
        await _until_cancelled(api)  # the other one
        found = await http.post("/v1/jobs", **named)
        assert (found.status_code, found.json()["status"]) == (202, "queued")
        assert (await queue.depth("tiny")).waiting == 1


async def test_a_job_that_is_in_the_queue_is_answered_for_though_redis_goes_just_then(
    listed: Painter, valkey_server: RedisServer, queue: Queue
) -> None:
    """A caller who got a 503 would send it once more."""
    async with (
        _slow_api(valkey_server, queue, _LOOKING_AT_IT) as (api, way),
        api.client() as http,
    ):
        answer = await http.post("/v1/jobs", json=_BODY | {"n": 2})
        assert answer.status_code == 202, answer.text
        way.let_go.set()
        assert (await http.get(answer.headers["location"])).json() == answer.json()
