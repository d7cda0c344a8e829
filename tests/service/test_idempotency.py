from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from service.broker.admission import Idempotency
from service.broker.keys import Key
from service.broker.workers import Workers
from service.jobs import Expired, Failed, JobStatus, Outcome
from tests.conftest import Clock
from tests.service.live_api import LiveApi
from tests.service.makers import ROOMY, claim_one, make_job, make_leases, make_queue, success
from tests.service.painter import TEXT_CARD, Painter
from tests.service.test_catalog import INFO

BODY = {"prompt": "a cat", "num_candidates": 8}
REMEMBERED_S = 0.3  # longer than the API remembers what workers said


async def _post(http: httpx.AsyncClient, body: dict[str, Any], key: str = "k") -> httpx.Response:
    return await http.post("/v1/jobs", json=body, headers={"idempotency-key": key})


async def test_the_same_job_is_told_of_when_no_worker_is_left(
    http: httpx.AsyncClient, api: LiveApi, redis: Redis
) -> None:
    worker = Painter(redis, TEXT_CARD)
    await worker.announce()  # it lives, but takes no jobs
    job = (await _post(http, BODY)).json()
    await worker.leave()
    await asyncio.sleep(REMEMBERED_S)
    assert (await _post(http, BODY, key="other")).status_code == 503
    again = await _post(http, BODY)
    assert (again.status_code, again.json()["id"]) == (202, job["id"])
    assert again.headers["x-ratelimit-remaining-requests"]
    assert (await _post(http, BODY | {"n": 2})).status_code == 422
    assert await api.metric('mindalle_jobs_admitted_total{model="tiny"}') == 1.0


async def test_the_same_job_is_told_of_by_a_server_that_drains(
    http: httpx.AsyncClient, api: LiveApi, painter: Painter
) -> None:
    job = (await _post(http, BODY)).json()
    api.state.is_draining = True
    assert (await _post(http, BODY)).json()["id"] == job["id"]
    assert (await _post(http, BODY, key="other")).status_code == 503


async def test_the_same_job_is_told_of_when_the_model_has_become_smaller(
    http: httpx.AsyncClient, redis: Redis
) -> None:
    workers = Workers(redis)
    await workers.heartbeat(INFO)
    job = (await _post(http, BODY)).json()
    await workers.heartbeat(replace(INFO, card=replace(TEXT_CARD, max_candidates=4)))
    await asyncio.sleep(REMEMBERED_S)
    assert (await _post(http, BODY, key="other")).status_code == 400
    assert (await _post(http, BODY)).json()["id"] == job["id"]


async def test_null_and_the_default_are_the_same_body(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    bodies: list[dict[str, Any]] = [{}, {"n": None}, {"n": 1}, {"seed": None}]
    ids = {(await _post(http, BODY | said)).json()["id"] for said in bodies}
    assert len(ids) == 1


async def test_a_key_whose_job_is_gone_makes_a_new_one(
    http: httpx.AsyncClient, painter: Painter, redis: Redis
) -> None:
    job = (await _post(http, BODY)).json()
    await redis.delete("{mindalle}:job:" + job["id"])
    again = await _post(http, BODY)
    assert (again.status_code, again.json()["id"] == job["id"]) == (202, False)


@pytest.mark.parametrize("outcome", [success(), Failed("broken", "It broke."), Expired()])
async def test_a_key_keeps_the_job_alone_beyond_its_result(
    redis: Redis, clock: Clock, outcome: Outcome
) -> None:
    # Its picture lives as long as the deadline, which this clock never reaches.
    queue, leases = make_queue(redis, clock, result_ttl_s=0.2), make_leases(redis, clock)
    asked, job = Idempotency("order-1", "d"), make_job(deadline_s=0.2)
    await queue.enqueue(job, ROOMY, asked, source=b"a picture")
    claim = await claim_one(leases)
    await leases.publish(claim, "partial_image", {"index": 0}, b"png")
    await leases.finish(claim, outcome)
    async with asyncio.timeout(20):
        while await redis.exists(*(k.of(job.id) for k in (Key.IMAGES, Key.EVENTS, Key.SOURCE))):
            await asyncio.sleep(0.02)
    view = await queue.get(job.id)
    assert (view.job, view.images) == (job, ())
    assert view.status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.EXPIRED)
    assert await queue.known_job(job.key_id, asked) == job
    assert [event async for event in queue.events(job.id)] == []


async def test_the_same_job_without_its_expired_images_is_told_of(
    http: httpx.AsyncClient, painter: Painter, redis: Redis
) -> None:
    job_id = (await _post(http, BODY)).json()["id"]
    path = f"/v1/jobs/{job_id}"
    assert "event: succeeded" in (await http.get(f"{path}/events")).text
    assert len((await http.get(path)).json()["images"]) == 1
    await redis.delete(Key.IMAGES.of(job_id), Key.EVENTS.of(job_id))  # as at `expires_at`
    for again in (await http.get(path), await _post(http, BODY)):
        told = again.json()
        assert (told["id"], told["status"], told["images"]) == (job_id, "succeeded", [])
    assert (await http.get(f"{path}/images/0")).status_code == 404
    assert (await http.get(f"{path}/events")).status_code == 204
