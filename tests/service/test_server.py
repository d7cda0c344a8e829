from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from service.api.app import create_app
from service.api.server import DrainingServer
from service.errors import StartRefused
from tests.servers import RedisServer, free_port
from tests.service.live_api import api_settings
from tests.service.painter import Painter, painting

PROGRAM = """
from service import logs, settings
from service.api import server
logs.configure("api", level="info", style="text")
server.serve(settings.load())
"""
PATH = "/v1/images/generations"
WAIT_S = 50.0  # a process starts within it on a busy machine


@asynccontextmanager
async def _api_process(
    redis_url: str, **settings: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """The API as a process of its own, and a client of it."""
    port = free_port()
    environment = os.environ | {
        "MINDALLE_MODEL": "tiny",
        "MINDALLE_REDIS__URL": redis_url,
        "MINDALLE_API__PORT": str(port),
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, env=environment, stderr=asyncio.subprocess.PIPE
    )
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
        try:
            yield process, client
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def _answers(client: httpx.AsyncClient, path: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                if (await client.get(path)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def _caller_waits(
    client: httpx.AsyncClient, painter: Painter, **body: object
) -> asyncio.Task[httpx.Response]:
    painter.gate.clear()
    waiting = asyncio.create_task(client.post(PATH, json={"prompt": "a cat"} | body))
    async with asyncio.timeout(WAIT_S):
        while not painter.running:
            await asyncio.sleep(0.01)
    return waiting


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]])
async def test_a_stopped_server_answers_those_who_wait(
    numbers: list[signal.Signals], redis: Redis, valkey_server: RedisServer
) -> None:
    """One terminal that is closed may send SIGHUP twice."""
    async with painting(redis) as painter, _api_process(valkey_server.url) as (process, client):
        await _answers(client, "/readyz")
        waiting = await _caller_waits(client, painter)
        for number in numbers:
            process.send_signal(number)
            async with asyncio.timeout(WAIT_S):
                while (await client.get("/readyz")).json().get("reason") != "draining":
                    await asyncio.sleep(0.01)
        for _ in range(20):  # uvicorn looks ten times a second whether it is to close
            await asyncio.sleep(0.02)
            assert (await client.get("/readyz")).json()["reason"] == "draining"
        refused = await client.post(PATH, json={"prompt": "too late"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        painter.gate.set()
        assert (await waiting).status_code == 200
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stopped_server_does_not_wait_for_ever(
    redis: Redis, valkey_server: RedisServer, stream: bool
) -> None:
    settings = {"MINDALLE_API__DRAIN_GRACE_S": "0.1"}
    async with (
        painting(redis) as painter,
        _api_process(valkey_server.url, **settings) as (process, client),
    ):
        await _answers(client, "/readyz")
        waiting = await _caller_waits(client, painter, stream=stream)
        process.send_signal(signal.SIGTERM)
        answer = await waiting
        assert answer.headers["x-request-id"]
        if stream:
            name, data = answer.text.removeprefix("event: ").split("\ndata: ")
            assert (name, json.loads(data)["error"]["code"]) == ("error", "draining")
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
            assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == (
                "1",
                "true",
            )
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0
            while not painter.evicted:  # nobody waits for the job any more
                await asyncio.sleep(0.01)


async def test_a_stopped_server_lets_go_of_those_who_follow_a_job(
    redis: Redis, valkey_server: RedisServer
) -> None:
    async with (
        painting(redis) as painter,
        _api_process(valkey_server.url) as (process, client),
    ):
        await _answers(client, "/readyz")
        painter.gate.clear()
        job = (await client.post("/v1/jobs", json={"prompt": "a cat"})).json()
        events = f"/v1/jobs/{job['id']}/events"
        async with client.stream("GET", events) as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("id: ")
            process.send_signal(signal.SIGTERM)
            assert "event: error" not in [line async for line in lines]
        _, said = await process.communicate()
    assert b"ERROR" not in said.upper(), said.decode()


async def test_a_stop_while_a_job_gets_into_the_queue_cuts_no_answer_off(
    redis: Redis, valkey_server: RedisServer
) -> None:
    settings = {"MINDALLE_API__DRAIN_GRACE_S": "1"}
    body = {"prompt": "a cat", "stream": True}
    async with (
        painting(redis) as painter,
        _api_process(valkey_server.url, **settings) as (process, client),
    ):
        await _answers(client, "/readyz")
        painter.gate.clear()
        await redis.client_pause(30_000, all=False)  # nothing is written
        waiting = asyncio.create_task(client.post(PATH, json=body))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        await redis.client_unpause()
        assert '"code":"draining"' in (await waiting).text


async def test_a_second_signal_ends_it_at_once(redis: Redis, valkey_server: RedisServer) -> None:
    async with painting(redis) as painter, _api_process(valkey_server.url) as (process, client):
        await _answers(client, "/readyz")
        waiting = await _caller_waits(client, painter)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(WAIT_S):
            while (await client.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(WAIT_S):
            await process.wait()
        painter.gate.set()
        waiting.cancel()
        await asyncio.wait({waiting})


def test_idle_connections_are_closed_by_proxies_and_not_by_the_api(
    valkey_server: RedisServer,
) -> None:
    settings = api_settings(valkey_server)
    server = DrainingServer(create_app(settings), settings)
    site = (Path(__file__).parents[2] / "deploy/proxies/nginx.conf").read_text()
    (kept_s,) = re.findall(r"^    keepalive_timeout (\d+)s;", site, re.MULTILINE)
    assert server.config.timeout_keep_alive > int(kept_s)


async def test_a_redis_that_may_drop_jobs_is_refused_at_the_start(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    options = ("--maxmemory-policy", "allkeys-lru")
    server = RedisServer("valkey", tmp_path_factory.mktemp("lru"), options=options)
    server.start()
    async with _api_process(server.url) as (process, _):
        async with asyncio.timeout(WAIT_S):
            _, errors = await process.communicate()
        assert process.returncode == 1
        assert b"noeviction" in errors
    server.stop()


async def test_a_host_of_another_machine_is_refused_by_its_setting(
    valkey_server: RedisServer,
) -> None:
    api = {"host": "192.0.2.1", "port": free_port()}
    settings = api_settings(valkey_server, api=api, auth="off")
    with pytest.raises(StartRefused, match=r"^MINDALLE_API__HOST: can't listen on 192\.0\.2\.1:"):
        await DrainingServer(create_app(settings), settings).serve()
