from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from standardwebhooks import WebhookVerificationError

from service.api import deliveries
from service.api.deliveries import wait_s
from service.broker.keys import Key
from service.hooks.webhook import ENDS, HOOK_EVENTS
from tests.servers import RedisServer
from tests.service.commands import call
from tests.service.hooked import (
    KEYS,
    WAIT_S,
    create,
    due_now,
    hooked,
    hooking,
    until,
    until_got,
    verified,
)
from tests.service.painter import FAILING_PROMPT, Painter, painting
from tests.service.receiver import (
    OLD_SECRET,
    OTHER_SECRET,
    SECRET,
    Received,
    Receiver,
    receiving,
    status,
)


async def test_a_caller_is_told_how_its_job_goes(
    redis: Redis, valkey_server: RedisServer, painter: Painter
) -> None:
    async with hooked(valkey_server) as (receiver, api, http):
        painter.gate.clear()
        job = await create(http, receiver, n=2, webhook={"events": list(HOOK_EVENTS)})
        await until_got(receiver, 1)
        painter.gate.set()
        started, succeeded = await until_got(receiver, 2)
        view = (await http.get(f"/v1/jobs/{job['id']}")).json()
        await until(api, "mindalle_webhooks_delivered_total", 2)
        assert (await http.get(view["images"][0]["url"])).status_code == 200
    assert (started["type"], succeeded["type"]) == ("job.started", "job.succeeded")
    assert (started["data"]["status"], started["data"]["images"]) == ("running", [])
    assert succeeded["data"] == view
    assert succeeded["timestamp"].endswith("Z")
    for got, event in zip(receiver.got, ("started", "succeeded"), strict=True):
        assert got.headers["content-type"] == "application/json"
        assert got.headers["user-agent"].startswith("mindalle-serve/")
        assert got.headers["webhook-id"] == f"msg_{job['id'][4:]}_{event}"
        assert len(got.body) < 4096


async def test_every_end_is_told_where_no_events_are_named(
    redis: Redis, valkey_server: RedisServer, painter: Painter
) -> None:
    async with hooked(valkey_server) as (receiver, _, http):
        await create(http, receiver)
        await create(http, receiver, prompt=FAILING_PROMPT)
        await until_got(receiver, 2)
        painter.gate.clear()
        job = await create(http, receiver)
        await http.delete(f"/v1/jobs/{job['id']}")
        await until_got(receiver, 3)
        await create(http, receiver, deadline_s=0.2)
        messages = await until_got(receiver, 4)
    assert sorted(message["type"] for message in messages) == sorted(f"job.{e}" for e in ENDS)
    (failed,) = [message["data"] for message in messages if message["type"] == "job.failed"]
    assert failed["error"]["message"] == "The model could not draw this."


async def fails_at_random(
    server: RedisServer, redis: Redis, num_jobs: int
) -> tuple[Receiver, list[str]]:
    """Jobs against a receiver that takes every second message or so; it, and the jobs' ids."""
    chance = random.Random(7)
    odd = [status(500), status(503, "retry-after: 0"), status(302, "location: http://x/"), b""]

    def answer(got: Received) -> bytes | None:
        verified(got)
        if len(receiver.got) in (3, 17):
            return None  # for ever
        if chance.random() < 0.55:
            taken[got.headers["webhook-id"]].append(got.body)
            return status(204)
        return chance.choice(odd)

    taken: dict[str, list[bytes]] = defaultdict(list)
    async with painting(redis), hooked(server, answer) as (receiver, api, http):
        async with asyncio.timeout(30 + 3 * num_jobs):
            jobs = [
                (await create(http, receiver, webhook={"events": ["started", "succeeded"]}))["id"]
                for _ in range(num_jobs)
            ]
            while len(taken) < 2 * num_jobs or await redis.zcard(Key.HOOK_SINCE.of()):
                await asyncio.sleep(0.05)
        assert await api.metric("mindalle_webhooks_dead_lettered_total") == 0
        assert await api.metric("mindalle_webhooks_retried_total") > num_jobs / 2
    assert set(taken) == {
        f"msg_{job[4:]}_{event}" for job in jobs for event in ("started", "succeeded")
    }
    return receiver, jobs


def check_what_came(receiver: Receiver, jobs: list[str]) -> None:
    """Every message is one of these jobs', and says the same whenever it comes."""
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for got in receiver.got:
        bodies[got.headers["webhook-id"]].add(got.body)
    assert {len(each) for each in bodies.values()} == {1}
    assert {json.loads(got.body)["data"]["id"] for got in receiver.got} == set(jobs)
    assert len(receiver.got) > 2.5 * len(jobs)  # it did fail


async def test_a_receiver_that_fails_at_random_gets_every_message(
    redis: Redis, valkey_server: RedisServer
) -> None:
    check_what_came(*await fails_at_random(valkey_server, redis, 30))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_thousand_jobs_against_a_receiver_that_fails_at_random(
    redis: Redis, valkey_server: RedisServer
) -> None:
    check_what_came(*await fails_at_random(valkey_server, redis, 1000))


async def test_keys_sign_with_their_own_secrets_old_and_new(
    redis: Redis, valkey_server: RedisServer, painter: Painter
) -> None:
    secrets = SecretStr(f"{SECRET},{OLD_SECRET},shop={OTHER_SECRET}")
    async with (
        receiving() as receiver,
        hooking(valkey_server, receiver, keys=KEYS, secrets=secrets) as api,
        api.client(headers={"authorization": "Bearer a-key-of-the-shop"}) as shop,
        api.client(headers={"authorization": "Bearer a-key-of-another"}) as other,
    ):
        await create(shop, receiver)
        async with asyncio.timeout(WAIT_S):
            while not receiver.got:
                await asyncio.sleep(0.01)
        await create(other, receiver)
        async with asyncio.timeout(WAIT_S):
            while len(receiver.got) < 2:
                await asyncio.sleep(0.01)
    own, shared = receiver.got
    assert verified(own, OTHER_SECRET)
    assert verified(shared, SECRET) == verified(shared, OLD_SECRET)
    for got, secret in ((own, SECRET), (shared, OTHER_SECRET)):
        with pytest.raises(WebhookVerificationError):
            verified(got, secret)


async def test_what_no_receiver_takes_is_a_dead_letter_that_can_be_sent_again(
    redis: Redis,
    valkey_server: RedisServer,
    painter: Painter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", valkey_server.url)

    async def operate(*arguments: str) -> str:
        assert await asyncio.to_thread(call, "dlq", *arguments) == 0
        return capsys.readouterr().out

    async with hooked(valkey_server, lambda _: status(410)) as (receiver, api, http):
        jobs = [await create(http, receiver, prompt="a secret") for _ in range(2)]
        await until(api, "mindalle_webhooks_dead_lettered_total", 2)
        await until(api, "mindalle_webhook_dead_letters", 2)
        lines = (await operate("list")).splitlines()
        assert len(lines) == 2
        assert {line.split()[2] for line in lines} == {job["id"] for job in jobs}
        assert all("succeeded to 127.0.0.1  status 410" in line for line in lines)
        assert not any("secret" in line or "/h" in line for line in lines)
        assert len((await operate("list", "--limit", "1")).splitlines()) == 1
        told = json.loads((await operate("list", "--json")).splitlines()[0])
        assert (told["event"], told["host"]) == ("succeeded", "127.0.0.1")
        assert told["job"]["prompt"] == "a secret"
        receiver.answer = lambda _: status(200)
        again, dropped = (line.split()[0] for line in lines)
        assert await operate("retry", again) == f"{again} is sent again\n"
        assert await operate("drop", dropped) == f"{dropped} dropped\n"
        await until(api, "mindalle_webhooks_delivered_total", 1)
    assert await redis.keys("{mindalle}:hook*") == []


async def test_a_process_that_delivers_nothing_leaves_messages_to_others(
    redis: Redis, valkey_server: RedisServer, painter: Painter
) -> None:
    async with receiving() as receiver:
        async with hooking(valkey_server, receiver, deliver=False) as api, api.client() as http:
            await create(http, receiver)
            await until(api, "mindalle_webhooks_pending", 1)
        assert receiver.got == []
        async with hooking(valkey_server, receiver):
            await until_got(receiver, 1)


async def test_what_is_being_sent_at_the_end_arrives(
    redis: Redis, valkey_server: RedisServer, painter: Painter
) -> None:
    async with receiving() as receiver:
        receiver.gate.clear()
        async with hooking(valkey_server, receiver, timeout_s=10) as api, api.client() as http:
            await create(http, receiver)
            async with asyncio.timeout(WAIT_S):
                while not receiver.got:
                    await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.3, receiver.gate.set)
        assert await redis.zcard(Key.HOOK_SINCE.of()) == 0


async def test_what_is_not_sent_in_time_at_the_end_is_sent_by_the_next(
    redis: Redis, valkey_server: RedisServer, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_CLOSE_S", 0.1)
    async with receiving(lambda _: None) as receiver:
        async with hooking(valkey_server, receiver, timeout_s=10) as api, api.client() as http:
            await create(http, receiver)
            async with asyncio.timeout(WAIT_S):
                while not receiver.got:
                    await asyncio.sleep(0.01)
        assert await redis.zcard(Key.HOOK_SINCE.of()) == 1
        await due_now(redis, receiver)
        receiver.answer = lambda _: status(200)
        async with hooking(valkey_server, receiver):
            await until_got(receiver, 2)
    assert receiver.got[1].body == receiver.got[0].body


@pytest.fixture
def durable_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that keeps what was written when it is started again."""
    server = RedisServer("valkey", tmp_path, durable=True)
    server.start()
    yield server
    server.stop()


async def test_what_was_sent_while_redis_was_away_is_sent_again(
    durable_server: RedisServer,
) -> None:
    async with hooked(durable_server, timeout_s=10) as (receiver, api, http):
        receiver.gate.clear()
        async with Redis.from_url(durable_server.url) as redis, painting(redis):
            await create(http, receiver)
            async with asyncio.timeout(WAIT_S):
                while not receiver.got:
                    await asyncio.sleep(0.01)
        await asyncio.to_thread(durable_server.stop)
        receiver.gate.set()
        async with asyncio.timeout(WAIT_S):
            while (await http.get("/readyz")).status_code == 200 or len(receiver.got) != 1:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(durable_server.start)
        async with Redis.from_url(durable_server.url) as redis:
            await due_now(redis, receiver)
        await until(api, "mindalle_webhooks_delivered_total", 1)
    first, second = receiver.got
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_waits_double_to_an_hour_and_are_never_all_alike() -> None:
    for attempt in range(1, 40):
        ceiling = min(3600.0, 5.0 * 2 ** (attempt - 1))
        waits = {wait_s(attempt, 5.0) for _ in range(20)}
        assert len(waits) > 1
        assert all(ceiling / 2 <= wait <= ceiling for wait in waits)
    day = sum(min(3600.0, 5.0 * 2**n) / 2 for n in range(60))
    assert day > 86_400 / 2
