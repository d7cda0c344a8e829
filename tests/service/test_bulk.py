"""Many prompts through a live API, with a painter in a worker's place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from service import cli
from service.api.routes import event_streams
from service.broker.keys import Key
from service.broker.workers import WorkerInfo, Workers
from service.client import ApiError, AsyncClient
from service.client.bulk import Bulk, Counts, Gate
from service.client.manifest import MANIFEST_NAME, Entry, Manifest
from service.jobs import Priority
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.painter import FAILING_PROMPT, TEXT_CARD, Painter, paint, painting

FOLLOWED = 'mindalle_http_requests_total{code="200",method="GET",route="/v1/jobs/{job_id}/events"}'


@pytest.fixture
async def client(api: LiveApi) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(api.url, max_retries=0) as opened:
        yield opened


def entries(count: int) -> list[Entry]:
    return [
        Entry(f"p{number}", f"a cat {number}", {"priority": "low", "n": 1, "num_candidates": 1})
        for number in range(count)
    ]


async def run(
    client: AsyncClient, folder: Path, asked: list[Entry], concurrency: int = 4
) -> Counts:
    with Manifest(folder) as manifest:
        return await Bulk(client, manifest, Gate(patience_s=20.0)).run(asked, concurrency)


async def test_every_prompt_gets_its_file_once_a_few_at_a_time(
    client: AsyncClient, painter: Painter, tmp_path: Path
) -> None:
    painter.gate.clear()
    running = asyncio.create_task(run(client, tmp_path, entries(9), concurrency=3))
    async with asyncio.timeout(30):
        while len(painter.running) < 3:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert len(painter.started) == 3
    painter.gate.set()
    counts = await running
    assert (counts.done, counts.failed, counts.left) == (9, 0, 0)
    assert {job.priority for job in painter.started} == {Priority.LOW}
    jobs = {job.recipe.prompt: job for job in painter.started}
    assert len(jobs) == len(painter.started) == 9
    for entry in entries(9):
        job = jobs[str(entry.prompt)]
        assert (tmp_path / f"{entry.name}-0.png").read_bytes() == paint(job, 0)


async def test_a_second_call_draws_what_is_missing_or_changed_alone(
    client: AsyncClient, painter: Painter, tmp_path: Path
) -> None:
    asked = entries(5)
    await run(client, tmp_path, asked)
    assert (await run(client, tmp_path, asked)).total == 0
    (tmp_path / "p1-0.png").unlink()
    asked[3] = Entry("p3", "an owl", asked[3].parameters)
    assert (await run(client, tmp_path, asked)).done == 2
    assert sorted(str(job.recipe.prompt) for job in painter.started[5:]) == ["a cat 1", "an owl"]


async def test_a_call_that_was_killed_is_taken_up_without_a_job_drawn_twice(
    client: AsyncClient, painter: Painter, tmp_path: Path
) -> None:
    painter.gate.clear()
    running = asyncio.create_task(run(client, tmp_path, entries(8)))
    async with asyncio.timeout(30):
        while len(painter.running) < 4:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    painter.gate.set()
    assert (await run(client, tmp_path, entries(8))).done == 8
    assert len(painter.started) == 8


async def test_what_fails_or_is_refused_is_told_and_tried_by_the_next_call(
    client: AsyncClient, painter: Painter, tmp_path: Path
) -> None:
    asked = [
        *entries(1),
        Entry("poison", FAILING_PROMPT, {}),
        Entry("wrong", "a cat", {"n": 1000}),
    ]
    for _ in range(2):
        assert (await run(client, tmp_path, asked)).failed == 2
    lines = (tmp_path / MANIFEST_NAME).read_text().splitlines()[1:]
    records = [json.loads(line) for line in lines]
    ends = sorted((record["name"], record["status"]) for record in records)
    assert ends == [
        ("p0", "succeeded"),
        *[("poison", "failed")] * 2,
        *[("wrong", "refused")] * 2,
    ]
    assert len({record.get("job") for record in records if record["name"] == "poison"}) == 2
    assert all(record["error"]["message"] for record in records if record["name"] != "p0")


async def test_an_outage_while_jobs_are_followed_is_waited_for(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "_MAX_FAILURES", 0)  # then the stream tells it as an error
    server = RedisServer("valkey", tmp_path_factory.mktemp("away"), durable=True)
    server.start()
    async with serving(api_settings(server)) as api, AsyncClient(api.url, max_retries=0) as client:
        async with Redis.from_url(server.url) as redis:
            await Workers(redis).heartbeat(WorkerInfo("w1", TEXT_CARD, "ready"))
            running = asyncio.create_task(run(client, tmp_path, entries(1)))
            await until_followed(api)
        server.stop()
        async with asyncio.timeout(30):
            while await api.metric(FOLLOWED) < 1:
                await asyncio.sleep(0.05)
        server.start()
        async with Redis.from_url(server.url) as redis, painting(redis):
            assert (await running).done == 1
    server.stop()


async def test_a_job_that_the_queue_lost_while_it_was_followed_is_drawn_anew(
    api: LiveApi, client: AsyncClient, redis: Redis, tmp_path: Path
) -> None:
    await Workers(redis).heartbeat(WorkerInfo("w1", TEXT_CARD, "ready"))
    running = asyncio.create_task(run(client, tmp_path, entries(1)))
    await until_followed(api)
    await redis.flushall()
    async with painting(redis):
        assert (await running).done == 1


async def test_a_job_whose_images_have_expired_is_drawn_anew(
    client: AsyncClient, painter: Painter, redis: Redis, tmp_path: Path
) -> None:
    await run(client, tmp_path, entries(1))
    manifest = tmp_path / MANIFEST_NAME
    manifest.write_text(manifest.read_text().splitlines(keepends=True)[0])  # as if killed
    await redis.delete(Key.IMAGES.of(painter.started[0].id))
    assert (await run(client, tmp_path, entries(1))).done == 1
    assert len(painter.started) == 2
    assert (tmp_path / "p0-0.png").read_bytes() == paint(painter.started[1], 0)


async def until_followed(api: LiveApi) -> None:
    """Wait until the stream of a job's events has begun."""
    async with asyncio.timeout(30):
        while not api.state.queue._wakeups.num_watched:
            await asyncio.sleep(0.01)


class Hours:
    """A clock that a sleep turns, for who waits long."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0.01)


async def test_a_full_queue_is_asked_again_when_it_says_until_all_is_drawn(
    valkey_server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    hours = Hours()
    settings = api_settings(valkey_server, queue={"sweep_interval_s": 0.05, "max_depth": 1})
    async with (
        serving(settings) as api,
        painting(redis) as painter,
        AsyncClient(api.url, max_retries=0) as client,
    ):
        with Manifest(tmp_path) as manifest:
            gate = Gate(1e6, clock=hours, sleep=hours.sleep)
            counts = await Bulk(client, manifest, gate).run(entries(20), 20)
    assert counts.done == len(painter.started) == 20
    assert hours.slept


async def test_what_one_caller_is_told_holds_for_all() -> None:
    hours = Hours()
    gate = Gate(100.0, clock=hours, sleep=hours.sleep)
    asked_at: list[float] = []

    async def ask() -> None:
        asked_at.append(hours())
        if len(asked_at) == 1:
            refused = httpx.Response(429, headers={"retry-after": "40"}, json={"error": {}})
            raise ApiError.of(refused)

    await gate.call(ask)
    await asyncio.gather(*(gate.call(ask) for _ in range(3)))
    assert asked_at[0] == 0.0
    assert all(at >= 40.0 for at in asked_at[1:])


async def test_a_server_that_stays_away_ends_the_run() -> None:
    hours = Hours()
    gate = Gate(100.0, clock=hours, sleep=hours.sleep)

    async def ask() -> None:
        raise httpx.ConnectError("nobody is there")

    with pytest.raises(httpx.ConnectError):
        await gate.call(ask)
    assert 100.0 < hours() < 250.0


async def test_a_long_wait_before_a_line_breaks_is_no_reason_to_give_up() -> None:
    hours = Hours()
    gate = Gate(100.0, clock=hours, sleep=hours.sleep)
    breaks = [True, False]

    async def ask() -> str:
        hours.now_s += 800.0
        if breaks.pop(0):
            raise httpx.ReadError("the line broke")
        return "drawn"

    assert await gate.call(ask) == "drawn"


async def test_a_wrong_key_ends_the_run_at_once(
    valkey_server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    settings = api_settings(valkey_server, api_keys=SecretStr("the-right-key"))
    async with serving(settings) as api, AsyncClient(api.url, "another-key") as client:
        with pytest.raises(ApiError, match="valid API key"):
            await run(client, tmp_path, entries(9))
    assert len((tmp_path / MANIFEST_NAME).read_text().splitlines()) == 1


async def test_the_command(
    api: LiveApi, painter: Painter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('"a\u2028cat"\n{"prompt": "an owl", "name": "owl", "n": 2}\n')
    call = ["bulk", str(prompts), "--out", str(tmp_path / "out"), "--url", api.url]
    assert await asyncio.to_thread(cli.main, call) == 0
    assert "2 done, 0 failed, 0 were there" in capsys.readouterr().out
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"owl-0.png", "owl-1.png", "000001-0.png", MANIFEST_NAME} <= files
    assert {job.deadline_s for job in painter.started} == {900.0}
    prompts.write_text("{")
    assert await asyncio.to_thread(cli.main, call) == 2
    assert "line 1" in capsys.readouterr().err


def test_an_address_where_nothing_is_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text('"a cat"\n')
    call = ["bulk", str(tmp_path / "p.jsonl"), "-o", str(tmp_path / "out"), "--patience", "1"]
    assert cli.main([*call, "--url", "127.0.0.1:9"]) == 2
    assert "is it the right address and port" in capsys.readouterr().err
