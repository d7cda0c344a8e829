from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from models.presets.register import PRESETS
from service.answers.preset_cards import preset_card
from service.api.catalog import Catalog
from service.broker.redis_connection import connect
from service.broker.workers import WorkerInfo, Workers
from service.config.groups import RedisSettings
from service.errors import ModelNotFound, NoWorker, QueueUnavailable
from tests.servers import RedisServer
from tests.service.painter import CLASS_CARD, TEXT_CARD


class Seconds:
    """A monotonic clock in the hands of a test."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


INFO = WorkerInfo(
    id="w1",
    state="ready",
    card=TEXT_CARD,
    rows_total=8,
    rows_busy=0,
    candidates_per_s=1.0,
    num_steps=0,
    is_progressing=True,
    version="0",
)


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def workers(redis: Redis) -> Workers:
    return Workers(redis)


@pytest.fixture
def catalog(workers: Workers, seconds: Seconds) -> Catalog:
    return Catalog(workers, default_model="tiny", known=["tiny", "later"], clock=seconds)


async def test_the_default_model_needs_no_name(catalog: Catalog, workers: Workers) -> None:
    await workers.heartbeat(INFO)
    assert await catalog.card(None) == await catalog.card("tiny") == TEXT_CARD


async def test_a_model_that_exists_but_is_not_served(catalog: Catalog) -> None:
    with pytest.raises(NoWorker):
        await catalog.card("later")


async def test_a_model_that_does_not_exist(catalog: Catalog, workers: Workers) -> None:
    await workers.heartbeat(INFO)
    with pytest.raises(ModelNotFound):
        await catalog.card("nothing")


@pytest.mark.parametrize("change", [{"state": "loading"}, {"state": "draining"},
                                    {"state": "failing"}, {"is_progressing": False}])  # fmt: skip
async def test_a_worker_that_takes_no_jobs_serves_nothing(
    catalog: Catalog, workers: Workers, change: dict[str, object]
) -> None:
    card = replace(TEXT_CARD, model="brought-along")
    await workers.heartbeat(replace(INFO, card=card, **change))  # type: ignore[arg-type]  # fields of WorkerInfo
    with pytest.raises(NoWorker):
        await catalog.card("brought-along")
    assert await catalog.models() == {}


async def test_models_are_listed_with_their_workers(catalog: Catalog, workers: Workers) -> None:
    await workers.heartbeat(INFO)
    await workers.heartbeat(replace(INFO, id="w2"))
    await workers.heartbeat(replace(INFO, id="w3", card=CLASS_CARD))
    served = await catalog.models()
    assert {name: [w.id for w in by] for name, by in served.items()} == {
        "tiny": ["w1", "w2"],
        "tiny-class": ["w3"],
    }


async def test_the_list_is_asked_for_again_after_a_moment(
    catalog: Catalog, workers: Workers, seconds: Seconds
) -> None:
    assert await catalog.workers() == []
    await workers.heartbeat(INFO)
    assert await catalog.workers() == []
    seconds.now += 1.0
    assert await catalog.workers() == [INFO]


def test_metrics_get_names_from_a_closed_set(catalog: Catalog) -> None:
    assert catalog.label("later") == "later"
    assert catalog.label("<anything>") == "unknown"


async def test_a_model_on_demand_takes_jobs_before_its_first_worker(
    workers: Workers, seconds: Seconds
) -> None:
    catalog = Catalog(
        workers,
        default_model="tiny",
        known=["tiny", "later"],
        on_demand={"tiny": preset_card(PRESETS["tiny"])},
        clock=seconds,
    )
    assert await catalog.takes_jobs("tiny")
    assert not await catalog.takes_jobs("later")
    assert (await catalog.card("tiny")).codes_per_candidate == PRESETS["tiny"].codes_per_image

    await workers.heartbeat(INFO)
    seconds.now += 1
    assert await catalog.card("tiny") == TEXT_CARD
    await workers.remove(INFO.id, "tiny")
    seconds.now += 1
    assert await catalog.card("tiny") == TEXT_CARD  # what its last worker said is remembered


TIMEOUT_S = 3.0  # seconds, so that a busy machine does not take as long by itself


@pytest.fixture
async def impatient(valkey_server: RedisServer, redis: Redis) -> AsyncIterator[Catalog]:
    """A catalog that has looked once, over a connection with a short time limit."""
    client = connect(RedisSettings(url=SecretStr(valkey_server.url), timeout_s=TIMEOUT_S))
    catalog = Catalog(Workers(client), default_model="tiny", known=["tiny"])
    await catalog.workers()
    await asyncio.sleep(0.3)  # longer than it remembers
    yield catalog
    await client.aclose()


async def _seconds_of_refusals(catalog: Catalog, num_callers: int) -> float:
    began = time.monotonic()
    calls = [catalog.takes_jobs("tiny") for _ in range(num_callers)]
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, QueueUnavailable)
    return time.monotonic() - began


async def test_callers_share_the_wait_for_a_silent_redis(
    impatient: Catalog, valkey_server: RedisServer
) -> None:
    with valkey_server.frozen():
        assert await _seconds_of_refusals(impatient, 10) < 4 * TIMEOUT_S


async def test_a_redis_that_is_known_to_be_silent_is_not_waited_for(
    impatient: Catalog, valkey_server: RedisServer
) -> None:
    with valkey_server.frozen():
        await _seconds_of_refusals(impatient, 1)
        for _ in range(3):
            assert await _seconds_of_refusals(impatient, 1) < 0.8 * TIMEOUT_S
            await asyncio.sleep(0.3)
    async with asyncio.timeout(20):
        while True:
            try:
                assert await impatient.workers() == []
                return
            except QueueUnavailable:
                await asyncio.sleep(0.05)


async def test_a_caller_that_leaves_takes_nobody_along(
    impatient: Catalog, valkey_server: RedisServer
) -> None:
    with valkey_server.frozen():
        leaving, staying = (asyncio.create_task(impatient.workers()) for _ in range(2))
        await asyncio.sleep(0.1)
        leaving.cancel()
        await asyncio.wait({leaving})
    assert await staying == []
