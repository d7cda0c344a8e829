from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
from redis.asyncio import Redis

from service.broker.workers import Workers
from tests.service.live_api import LiveApi
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
