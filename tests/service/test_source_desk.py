"""Callers' pictures at the API: who may have one read, and what ends that."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.servers import RedisServer
from tests.service.files import file_of, noise
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.live_worker import until
from tests.service.painter import Painter

PATHS = ("/v1/images/edits", "/v1/jobs")
_AT_ONCE = 16
_ADMITTED = 'mindalle_jobs_admitted_total{model="tiny"}'


def _body(picture: bytes | None = None, **fields: object) -> dict[str, object]:
    image = base64.b64encode(picture or file_of(noise())).decode()
    return {"prompt": "a", "num_candidates": 1, "image": image, **fields}


@pytest.fixture
async def busy() -> AsyncIterator[threading.Event]:
    """All threads have other things to do until this is set: no picture is read."""
    threads, is_over = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(threads)
    threads.submit(is_over.wait)
    yield is_over
    is_over.set()


def _refusal(answer: httpx.Response) -> tuple[int, str]:
    assert "retry-after" in answer.headers or answer.status_code != 429
    return answer.status_code, answer.json()["error"]["code"]


async def test_who_would_be_refused_has_no_picture_read(
    redis: Redis, painter: Painter, valkey_server: RedisServer
) -> None:
    painter.gate.clear()
    no_picture = _body(b"no picture")
    for limit, code in (
        ({"key_burst": 1, "key_rate_per_s": 0.01}, "rate_limit_exceeded"),
        ({"max_candidates": 96}, "queue_full"),
    ):
        await redis.flushall()
        await painter.announce()
        settings = api_settings(valkey_server, queue=limit)
        async with serving(settings) as api, api.client() as http:
            for path in PATHS:
                unread = await http.post(path, json=no_picture)
                assert _refusal(unread) == (400, "invalid_value")  # nothing of the rate is taken
            first = await http.post("/v1/jobs", json=_body(num_candidates=96))
            assert first.status_code == 202, first.text
            for path in PATHS:
                assert _refusal(await http.post(path, json=no_picture)) == (429, code)
            rejected = f'mindalle_jobs_rejected_total{{model="tiny",reason="{code}"}}'
            assert await api.metric(rejected) == len(PATHS)


async def test_of_a_burst_few_pictures_are_read_in_vain(
    painter: Painter, valkey_server: RedisServer, busy: threading.Event
) -> None:
    settings = api_settings(valkey_server, queue={"key_burst": 1, "key_rate_per_s": 0.01})
    async with serving(settings) as api, api.client() as http:
        first = asyncio.create_task(http.post("/v1/jobs", json=_body()))
        await until(lambda: api.state.sources.num_here == 1)
        no_picture = _body(b"no picture")  # a 400 once it is read
        others = [asyncio.create_task(http.post(PATHS[0], json=no_picture)) for _ in range(8)]
        await until(lambda: api.state.sources.num_here == 9)
        busy.set()
        assert (await first).status_code == 202
        refusals = [_refusal(answer) for answer in await asyncio.gather(*others)]
        # One may be asked about before the first has got into the queue.
        assert refusals.count((429, "rate_limit_exceeded")) >= 6, refusals


async def test_too_many_pictures_to_read_is_not_a_full_queue(
    api: LiveApi, http: httpx.AsyncClient, painter: Painter, busy: threading.Event
) -> None:
    asked = [
        asyncio.create_task(http.post(PATHS[0], json=_body(seed=seed)))
        for seed in range(_AT_ONCE + 1)
    ]
    (one,), waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    assert _refusal(one.result()) == (429, "uploads_full")
    assert "pictures to read" in one.result().json()["error"]["message"]
    busy.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    rejected = 'mindalle_jobs_rejected_total{model="tiny",reason="uploads_full"}'
    assert await api.metric(rejected) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_the_deadline_ends_the_reading_of_a_picture(
    api: LiveApi, http: httpx.AsyncClient, painter: Painter, busy: threading.Event, path: str
) -> None:
    late = await http.post(path, json=_body(deadline_s=0.1))
    assert _refusal(late) == (504, "deadline_passed")
    busy.set()
    assert (await http.post(PATHS[0], json=_body())).status_code == 200
    assert await api.metric(_ADMITTED) == 1


async def test_a_caller_who_goes_while_the_picture_is_read_makes_no_job(
    api: LiveApi, http: httpx.AsyncClient, painter: Painter, busy: threading.Event
) -> None:
    body = json.dumps(_body()).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (PATHS[0].encode(), len(body), body)
    )
    await until(lambda: api.state.num_waiting == 1)
    writer.close()
    await until(lambda: api.state.num_waiting == 0)
    busy.set()
    assert await api.metric("mindalle_http_hang_ups_total") == 1
    assert (await http.post(PATHS[0], json=_body())).status_code == 200
    assert await api.metric(_ADMITTED) == 1


async def test_a_body_for_which_there_is_no_room_is_counted(
    painter: Painter, valkey_server: RedisServer
) -> None:
    limits = {"max_body_bytes": 1024, "max_upload_bytes": 65_536}
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" % PATHS[0].encode()
    unfinished = head + b"content-length: 65536\r\n\r\n" + b" " * 65_000
    whole: dict[str, Any] = {
        "content": b" " * 65_536,
        "headers": {"content-type": "application/json"},
    }
    async with serving(api_settings(valkey_server, api=limits)) as api, api.client() as http:
        kept = []
        for _ in range(_AT_ONCE):
            _, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writer.write(unfinished)
            kept.append(writer)
        async with asyncio.timeout(30):
            while (refused := await http.post(PATHS[0], **whole)).status_code == 400:
                pass  # there is room: they have not come yet
        assert _refusal(refused) == (429, "uploads_full")
        rejected = 'mindalle_jobs_rejected_total{model="unknown",reason="uploads_full"}'
        assert await api.metric(rejected) == 1
        for writer in kept:
            writer.close()
