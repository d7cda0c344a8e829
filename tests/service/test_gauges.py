from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from models.presets.register import PRESETS
from service.answers.preset_cards import preset_card
from service.api.catalog import Catalog
from service.api.gauges import Gauges
from service.broker.outbox import Outbox
from service.broker.queue import Queue
from service.broker.workers import Workers
from service.metrics import ApiMetrics
from tests.service.makers import make_queue, put
from tests.service.painter import TEXT_CARD
from tests.service.test_catalog import INFO, Seconds

OTHER = replace(TEXT_CARD, model="other")


class Scrape:
    """Gauges on the test's Redis; each scrape comes long after the last one."""

    def __init__(self, redis: Redis) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Seconds()
        catalog = Catalog(
            Workers(redis),
            default_model="tiny",
            known=["tiny"],
            on_demand={"tiny-class": preset_card(PRESETS["tiny-class"])},
            clock=self.seconds,
        )
        metrics = ApiMetrics(self.registry)
        outbox = Outbox(redis, lease_s=10, letter_ttl_s=60)
        self._gauges = Gauges(metrics, make_queue(redis), catalog, outbox, self.seconds)

    async def value(self, name: str, *, after_s: float = 15.0, **labels: str) -> float | None:
        """A sample, None when there is no such series."""
        self.seconds.now += after_s
        await self._gauges.read()
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def scrape(redis: Redis) -> Scrape:
    return Scrape(redis)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return make_queue(redis)


async def test_a_model_whose_last_worker_is_gone_has_none(scrape: Scrape, redis: Redis) -> None:
    workers = Workers(redis)
    await workers.heartbeat(replace(INFO, card=OTHER))
    assert await scrape.value("mindalle_workers_live", model="other", state="ready") == 1.0
    await workers.remove(INFO.id, "other")
    assert await scrape.value("mindalle_workers_live", model="other", state="ready") == 0.0


async def test_a_queue_without_workers_is_counted_to_its_end(scrape: Scrape, queue: Queue) -> None:
    job = await put(queue, model="other")
    assert await scrape.value("mindalle_queue_jobs", model="other") == 1.0
    await queue.cancel(job.id)
    assert await scrape.value("mindalle_queue_jobs", model="other") == 0.0


@pytest.mark.parametrize("model", ["tiny", "tiny-class"])
async def test_a_model_that_is_counted_on_shows_before_its_first_worker(
    scrape: Scrape, model: str
) -> None:
    assert await scrape.value("mindalle_queue_jobs", model=model) == 0.0
    assert await scrape.value("mindalle_workers_live", model=model, state="ready") == 0.0


async def test_scrapes_within_a_second_count_the_queues_once(scrape: Scrape, queue: Queue) -> None:
    assert await scrape.value("mindalle_queue_jobs", model="tiny") == 0.0
    await put(queue)
    assert await scrape.value("mindalle_queue_jobs", after_s=0.5, model="tiny") == 0.0
    assert await scrape.value("mindalle_queue_jobs", after_s=0.6, model="tiny") == 1.0
