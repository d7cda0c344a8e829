from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from service.api.routes.event_streams import job_events
from service.broker.leases import Leases
from service.jobs import Image, JobView, Succeeded
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.painter import POLICY, TEXT_CARD, Painter

PATH = "/v1/images/generations"


@pytest.fixture
async def durable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """A server that keeps what it has over a power cut."""
    server = RedisServer("valkey", tmp_path_factory.mktemp("durable"), durable=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def lasting_api(durable: RedisServer) -> AsyncIterator[LiveApi]:
    """The API on such a server, with a worker on the list."""
    client = Redis.from_url(durable.url)
    async with serving(api_settings(durable)) as api:
        await Painter(client, TEXT_CARD).announce()
        yield api
    await client.aclose()


async def _job_waits(api: LiveApi) -> None:
    async with asyncio.timeout(30):
        while (await api.state.queue.depth("tiny")).waiting == 0:
            await asyncio.sleep(0.02)


async def _draw(server: RedisServer) -> None:
    """Do the one job that waits, as a worker does."""
    client = Redis.from_url(server.url)
    leases = Leases(client, model="tiny", worker_id="late", policy=POLICY)
    (claim,) = (await leases.claim(free_rows=8, num_running=0, block_s=1.0)).claims
    await leases.publish(claim, "partial_image", {"index": 0, "candidate": 0}, b"half")
    assert await leases.finish(claim, Succeeded((Image(0, 0, 0.5, b"whole"),), "32x32", {}))
    await client.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_keeps_waiting_while_redis_is_restarted(
    lasting_api: LiveApi, durable: RedisServer, stream: bool
) -> None:
    body = {"prompt": "a", "stream": stream, "partial_images": 1, "response_format": "b64_json"}
    async with lasting_api.client() as http:
        waiting = asyncio.create_task(http.post(PATH, json=body))
        await _job_waits(lasting_api)
        await asyncio.to_thread(durable.kill)
        await asyncio.sleep(0.3)  # long enough for the waiter to notice
        await asyncio.to_thread(durable.start)
        await _draw(durable)
        answer = await waiting
    assert answer.status_code == 200
    whole = base64.b64encode(b"whole").decode()
    half = base64.b64encode(b"half").decode()
    assert whole in answer.text
    assert (answer.text.count(half) == 1) == stream


async def test_a_stream_keeps_its_deadline_while_redis_is_away(
    lasting_api: LiveApi, durable: RedisServer
) -> None:
    body = {"prompt": "a", "stream": True, "deadline_s": 2}
    async with lasting_api.client() as http:
        waiting = asyncio.create_task(http.post(PATH, json=body))
        await _job_waits(lasting_api)
        await asyncio.to_thread(durable.kill)
        async with asyncio.timeout(20):  # far less than the patience of those who only follow a job
            answer = await waiting
    data = json.loads(answer.text.partition("data: ")[2])
    assert data["error"]["code"] == "deadline_passed"


async def test_what_a_follower_saw_is_not_told_again_after_a_restart(
    lasting_api: LiveApi, durable: RedisServer
) -> None:
    names = []
    async with lasting_api.client() as http:
        job = (await http.post("/v1/jobs", json={"prompt": "a"})).json()
        async with http.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                if line == "event: queued":
                    await asyncio.to_thread(durable.kill)
                    await asyncio.to_thread(durable.start)
                    await _draw(durable)
    assert names == ["queued", "started", "partial_image", "succeeded"]


async def test_a_follower_is_told_the_end_though_redis_dies_just_then(
    lasting_api: LiveApi, durable: RedisServer
) -> None:
    async with lasting_api.client() as http:
        job = (await http.post("/v1/jobs", json={"prompt": "a"})).json()
    await _draw(durable)
    told = job_events(lasting_api.state, job["id"], "0", _no_urls)
    names = [(await anext(told)).event for _ in range(3)]
    await asyncio.to_thread(durable.kill)  # the end is read, and not yet told
    end = asyncio.ensure_future(anext(told))
    await asyncio.sleep(0.3)  # long enough to ask for the job in vain
    await asyncio.to_thread(durable.start)
    assert [*names, (await end).event] == ["queued", "started", "partial_image", "succeeded"]
    await told.aclose()


async def test_who_asks_for_an_ended_jobs_events_is_not_kept_waiting_for_redis(
    lasting_api: LiveApi, durable: RedisServer
) -> None:
    """It answers for the job, and then no more: as if it went just in between."""
    async with Redis.from_url(durable.url) as operator, lasting_api.client() as http:
        job = (await http.post("/v1/jobs", json={"prompt": "a"})).json()
        await _draw(durable)
        await operator.execute_command("ACL", "SETUSER", "default", "-xrange")  # type: ignore[no-untyped-call]  # untyped upstream
        answer = await http.get(f"/v1/jobs/{job['id']}/events")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")


async def _no_urls(_: JobView) -> Callable[[int], str]:
    return str


async def test_a_silent_stream_is_kept_alive(durable: RedisServer) -> None:
    client = Redis.from_url(durable.url)
    await Painter(client, TEXT_CARD).announce()
    async with (
        serving(api_settings(durable, api={"heartbeat_s": 0.05})) as api,
        api.client() as http,
        http.stream("POST", PATH, json={"prompt": "a", "stream": True}) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                break
        else:
            pytest.fail("no comment came")
    await client.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_whose_job_redis_has_lost_is_asked_to_send_it_again(
    lasting_api: LiveApi, durable: RedisServer, stream: bool
) -> None:
    """As after a failover to a replica that had not heard of it yet."""
    client = Redis.from_url(durable.url)
    async with lasting_api.client() as http:
        waiting = asyncio.create_task(http.post(PATH, json={"prompt": "a", "stream": stream}))
        await _job_waits(lasting_api)
        await client.flushall()
        answer = await waiting
    await client.aclose()
    data = json.loads(answer.text.partition("data: ")[2] if stream else answer.text)
    assert data["error"]["code"] == "job_lost"
    if not stream:
        assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")
