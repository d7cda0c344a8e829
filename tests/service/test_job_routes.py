from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from service.jobs import new_job_id
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.painter import NUM_STEPS, TEXT_CARD, Painter, paint
from tests.stores import KINDS


async def _create(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/v1/jobs", json={"prompt": "a cat", "seed": 1} | body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    return job


async def _ended(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            job: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}")).json()
            if job["finished_at"] is not None:
                return job
            await asyncio.sleep(0.02)


async def _stream(
    http: httpx.AsyncClient, job_id: str, after: str | None = None
) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    headers = {} if after is None else {"last-event-id": after}
    async with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "event" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_a_job_runs_and_shows_its_images(http: httpx.AsyncClient, painter: Painter) -> None:
    job = await _create(http, n=2)
    assert job["status"] in {"queued", "running", "succeeded"}
    assert job["parameters"]["seed"] == 1
    assert job["parameters"]["num_candidates"] == 4
    assert job["progress"]["codes_total"] == 4 * NUM_STEPS
    ended = await _ended(http, job["id"])
    assert ended["status"] == "succeeded"
    assert ended["position"] is None
    assert ended["progress"]["codes_done"] == 4 * NUM_STEPS
    assert ended["expires_at"] > ended["finished_at"] >= ended["started_at"] >= job["created_at"]
    assert [image["rank"] for image in ended["images"]] == [0, 1]
    for image in ended["images"]:
        file = await http.get(image["url"])
        assert file.content == paint(painter.started[0], image["candidate"])
        assert len(file.content) == image["num_bytes"]
        assert "immutable" in file.headers["cache-control"]


async def test_positions_count_from_the_next_job(http: httpx.AsyncClient, redis: Redis) -> None:
    await Painter(redis, TEXT_CARD).announce()  # it lives, but takes no jobs
    jobs = [await _create(http) for _ in range(3)]
    seen = [(await http.get(f"/v1/jobs/{job['id']}")).json() for job in jobs]
    assert [job["position"] for job in seen] == [0, 1, 2]
    assert [job["status"] for job in seen] == ["queued"] * 3


async def test_a_running_job_shows_progress(http: httpx.AsyncClient, painter: Painter) -> None:
    painter.gate.clear()
    job = await _create(http)
    async with asyncio.timeout(30):
        while (seen := (await http.get(f"/v1/jobs/{job['id']}")).json())["progress"][
            "codes_done"
        ] == 0:
            await asyncio.sleep(0.02)
    assert seen["status"] == "running"
    assert seen["progress"] == {
        "codes_done": 4 * NUM_STEPS // 2,
        "codes_total": 4 * NUM_STEPS,
        "stage": "decode",
    }
    assert seen["images"] == []


async def test_the_same_idempotency_key_gives_the_same_job(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    body, headers = {"prompt": "a cat"}, {"idempotency-key": "order-1"}
    first = await http.post("/v1/jobs", json=body, headers=headers)
    again = await http.post("/v1/jobs", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["parameters"]["seed"] == again.json()["parameters"]["seed"]
    other = await http.post("/v1/jobs", json={"prompt": "a dog"}, headers=headers)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"


async def test_deleting_a_running_job_frees_the_worker_and_is_counted(
    http: httpx.AsyncClient, api: LiveApi, painter: Painter
) -> None:
    painter.gate.clear()
    job = await _create(http)
    async with asyncio.timeout(30):
        while not painter.running:
            await asyncio.sleep(0.01)
    cancelled = await http.delete(f"/v1/jobs/{job['id']}")
    assert cancelled.json()["status"] == "cancelled"
    async with asyncio.timeout(30):
        while job["id"] not in painter.evicted:
            await asyncio.sleep(0.01)
    assert await api.metric('mindalle_jobs_cancelled_total{model="tiny"}') == 1
    for view in ("", "?depth=1"):
        image = await http.get(f"/v1/jobs/{job['id']}/images/0{view}")
        assert image.status_code == 404
        assert image.json()["error"]["code"] == "image_not_found"


async def test_a_job_cancelled_while_it_waits_is_counted(
    http: httpx.AsyncClient, api: LiveApi, redis: Redis
) -> None:
    await Painter(redis, TEXT_CARD).announce()  # it lives, but takes no jobs
    job = await _create(http)
    for _ in range(2):
        assert (await http.delete(f"/v1/jobs/{job['id']}")).json()["status"] == "cancelled"
    assert await api.metric('mindalle_jobs_cancelled_total{model="tiny"}') == 1


async def test_deleting_an_ended_job_changes_nothing(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    job = await _create(http)
    await _ended(http, job["id"])
    assert (await http.delete(f"/v1/jobs/{job['id']}")).json()["status"] == "succeeded"


async def test_events_tell_the_whole_story(http: httpx.AsyncClient, painter: Painter) -> None:
    job = await _create(http, partial_images=2)
    events = [event async for event in _stream(http, job["id"])]
    assert [name for _, name, _ in events] == [
        "queued", "started", "partial_image", "partial_image", "succeeded"
    ]  # fmt: skip
    partial = events[2][2]
    assert base64.b64decode(partial["b64_json"]) == paint(painter.started[0], 0)
    assert events[-1][2] == await _ended(http, job["id"])


async def test_events_go_on_behind_the_last_one_seen(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    job = await _create(http, partial_images=1)
    events = [event async for event in _stream(http, job["id"])]
    rest = [event async for event in _stream(http, job["id"], after=events[1][0])]
    assert rest == events[2:]


async def test_an_empty_event_id_is_none(http: httpx.AsyncClient, painter: Painter) -> None:
    """EventSource begins with the empty text, and there are clients that send that, too."""
    job = await _create(http)
    events = [event async for event in _stream(http, job["id"])]
    assert [event async for event in _stream(http, job["id"], after="")] == events


async def test_events_outlive_the_api_process(
    http: httpx.AsyncClient, painter: Painter, valkey_server: RedisServer
) -> None:
    job = await _create(http)
    events = [event async for event in _stream(http, job["id"])]
    async with serving(api_settings(valkey_server)) as other, other.client() as client:
        again = [event async for event in _stream(client, job["id"])]
    assert [event[:2] for event in again] == [event[:2] for event in events]


async def test_a_stream_with_nothing_left_to_tell_asks_not_to_come_back(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    """EventSource opens a stream again after its end, unless the answer is 204."""
    job = await _create(http)
    events = [event async for event in _stream(http, job["id"])]
    path = f"/v1/jobs/{job['id']}/events"
    answer = await http.get(path, headers={"last-event-id": events[-1][0]})
    assert answer.status_code == 204


async def test_leaving_the_events_leaves_the_job_alone(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    painter.gate.clear()
    job = await _create(http)
    async for _, name, _ in _stream(http, job["id"]):
        if name == "started":
            break
    painter.gate.set()
    assert (await _ended(http, job["id"]))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/images/0")]
)
async def test_ids_of_no_job(http: httpx.AsyncClient, method: str, rest: str) -> None:
    for job_id in (new_job_id(), "job_1", "x:images", "%00", "job_" + "u" * 26, "a" * 3000):
        answer = await http.request(method, f"/v1/jobs/{job_id}{rest}")
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("rank", ["-1", "10", "first", "9" * 100])
async def test_ranks_that_can_not_be(http: httpx.AsyncClient, painter: Painter, rank: str) -> None:
    job = await _create(http)
    answer = await http.get(f"/v1/jobs/{job['id']}/images/{rank}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "rank"


async def test_an_image_that_has_one_look_only(http: httpx.AsyncClient, painter: Painter) -> None:
    job = await _ended(http, (await _create(http))["id"])
    assert job["views"] == {}
    address = f"/v1/jobs/{job['id']}/images/0"
    assert (await http.get(f"{address}?download=1")).status_code == 200
    error = (await http.get(f"{address}?depth=1")).json()["error"]
    assert (error["param"], error["code"]) == ("depth", "invalid_value")
    assert error["message"] == "This image of tiny has no depth: leave it out."


@pytest.mark.parametrize("event_id", ["now", "1-", "-1", "1" * 40])
async def test_an_event_id_that_is_none(
    http: httpx.AsyncClient, painter: Painter, event_id: str
) -> None:
    job = await _create(http)
    path = f"/v1/jobs/{job['id']}/events"
    answer = await http.get(path, headers={"last-event-id": event_id})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "last-event-id"


async def test_an_empty_idempotency_key_is_refused(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    answer = await http.post("/v1/jobs", json={"prompt": "a"}, headers={"idempotency-key": ""})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "idempotency-key"
