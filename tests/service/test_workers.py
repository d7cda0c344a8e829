from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from redis.asyncio import Redis

from models.configs.preset import SamplingDefaults
from service.broker.keys import GROUP, Key
from service.broker.workers import ModelCard, Residence, WorkerInfo, Workers
from tests.service.makers import MODEL, claim_one, make_leases, make_queue, put, success

CARD = ModelCard(
    model=MODEL,
    licence="Apache-2.0",
    size="32x32",
    prompt_kind="text",
    max_candidates=96,
    codes_per_candidate=16,
    defaults=SamplingDefaults(num_candidates=4),
    weights_digest="0" * 64,
    prompt_len=8,
    vocab_size=64,
)
INFO = WorkerInfo(
    id="w1",
    state="ready",
    card=CARD,
    rows_total=8,
    rows_busy=3,
    candidates_per_s=2.5,
    num_steps=100,
    is_progressing=True,
    version="0.1.0",
)


async def test_a_heartbeat_is_listed_until_it_is_old(redis: Redis) -> None:
    workers = Workers(redis)
    assert await workers.list() == []
    await workers.heartbeat(replace(INFO, id="w2"))
    await workers.heartbeat(INFO)
    assert await workers.list() == [INFO, replace(INFO, id="w2")]
    await redis.delete(Key.WORKER.of("w1"))  # as its time to live does
    assert [worker.id for worker in await workers.list()] == ["w2"]
    assert await redis.smembers(Key.WORKERS.of()) == {b"w2"}
    for name in await redis.keys("*"):
        assert await redis.pttl(name) > 0


@pytest.mark.parametrize(("heartbeat_s", "ttl_s"), [(0.2, 5), (1, 5), (60, 180)])
async def test_a_worker_is_believed_for_three_heartbeats(
    redis: Redis, heartbeat_s: float, ttl_s: float
) -> None:
    await Workers(redis, heartbeat_s=heartbeat_s).heartbeat(INFO)
    assert ttl_s - 2 < await redis.pttl(Key.WORKER.of("w1")) / 1000 <= ttl_s
    assert await redis.pttl(Key.WORKERS.of()) > 180_000


async def test_only_a_ready_progressing_worker_serves() -> None:
    assert INFO.is_serving
    assert not replace(INFO, is_progressing=False).is_serving
    for state in ("loading", "draining", "failing"):
        assert not replace(INFO, state=state).is_serving


@pytest.mark.parametrize("sign", ["", "[]", "7", "{}", '{"id": "w2"}', '{"id": "w2", "card": 7}'])
async def test_what_is_no_sign_of_life_is_passed_over(redis: Redis, sign: str) -> None:
    workers = Workers(redis)
    await workers.heartbeat(INFO)
    await workers.heartbeat(replace(INFO, id="w2"))
    await redis.set(Key.WORKER.of("w2"), sign, px=10_000)
    assert await workers.list() == [INFO]


@pytest.mark.parametrize("residence", ["cold", "loading", "ready", "unloading"])
async def test_where_its_model_is_stands_beside_what_the_first_release_reads(
    redis: Redis, residence: Residence
) -> None:
    workers, info = Workers(redis), replace(INFO, residence=residence)
    await workers.heartbeat(info)
    assert await workers.list() == [info]
    assert info.is_loaded == (residence in ("ready", "unloading"))
    assert info.to_json() == INFO.to_json()


def test_a_worker_of_another_release_is_understood() -> None:
    values = json.loads(INFO.to_json())
    more = values | {"wings": 2, "card": values["card"] | {"wings": 2, "default_wings": 2}}
    assert WorkerInfo.from_json(json.dumps(more)) == INFO
    for name in values.keys() - {"id", "card"}:
        assert WorkerInfo.from_json(json.dumps(_without(values, name))).card == CARD
    for name in values["card"].keys() - {"model"}:
        fewer = values | {"card": _without(values["card"], name)}
        assert WorkerInfo.from_json(json.dumps(fewer)).card.model == MODEL


async def test_what_the_first_release_has_no_words_for_has_a_key_of_its_own(redis: Redis) -> None:
    """It knows neither depths nor views, and of each default one number."""
    lists = SamplingDefaults(1.5, (64, 32), (0.9, 1.0), 4)
    card = replace(CARD, depth=2, views=(("depth", "1"), ("depth", "2")), defaults=lists)
    await Workers(redis).heartbeat(replace(INFO, card=card))
    assert [info.card for info in await Workers(redis).list()] == [card]
    sign = json.loads(await redis.get(Key.WORKER.of(INFO.id)) or b"")["card"]
    assert sign.keys() == json.loads(INFO.to_json())["card"].keys()
    assert (sign["default_top_k"], sign["default_top_p"]) == (64, 1.0)
    await redis.delete(Key.TRAITS.of(INFO.id))  # as a worker of the first release leaves it
    (info,) = await Workers(redis).list()
    assert info.card == replace(CARD, defaults=SamplingDefaults(1.5, 64, 1.0, 4))


def _without(values: dict[str, object], name: str) -> dict[str, object]:
    return {other: value for other, value in values.items() if other != name}


async def test_a_removed_worker_leaves_the_group_unless_it_holds_jobs(redis: Redis) -> None:
    workers, queue, leases = Workers(redis), make_queue(redis), make_leases(redis)
    await workers.remove("w1", MODEL)  # before there is any stream
    await workers.heartbeat(INFO)
    await put(queue)
    claim = await claim_one(leases)
    await workers.remove("w1", MODEL)
    assert await workers.list() == []
    assert await consumers(redis) == [b"w1"]
    await leases.finish(claim, success())
    await workers.remove("w1", MODEL)
    assert await consumers(redis) == []


async def test_a_name_belongs_to_one_process(redis: Redis) -> None:
    first, second = Workers(redis, owner="first"), Workers(redis, owner="second")
    assert await first.heartbeat(INFO) is None
    holder = await second.heartbeat(replace(INFO, rows_total=99))
    assert holder is not None
    assert holder.owner == "first"
    assert holder.believed_until_ms == await redis.pexpiretime(Key.WORKER.of("w1"))
    await second.remove("w1", MODEL)  # it is not its to remove
    assert await first.heartbeat(INFO) is None
    assert await second.heartbeat(replace(INFO, id="w2")) is None
    assert await Workers(redis).list() == [INFO, replace(INFO, id="w2")]
    await first.remove("w1", MODEL)
    assert await second.heartbeat(INFO) is None


async def test_a_name_is_free_once_its_last_sign_is_old_or_its_owner_gone(redis: Redis) -> None:
    first, second = Workers(redis, owner="first"), Workers(redis, owner="second")
    await first.heartbeat(INFO)
    assert await second.heartbeat(INFO, gone="third") is not None
    assert await second.heartbeat(INFO, gone="first") is None
    assert await first.heartbeat(INFO) is not None
    await redis.delete(Key.WORKER.of("w1"), Key.HOLDER.of("w1"))  # as their time to live does
    assert await first.heartbeat(INFO) is None


async def test_the_last_releases_workers_have_their_names_too(redis: Redis) -> None:
    await redis.set(Key.WORKER.of("w1"), json.dumps(asdict(INFO)), px=5000)
    holder = await Workers(redis).heartbeat(INFO)
    assert holder is not None
    assert holder.owner == ""


async def consumers(redis: Redis) -> list[bytes]:
    return [entry["name"] for entry in await redis.xinfo_consumers(Key.TICKETS.of(MODEL), GROUP)]
