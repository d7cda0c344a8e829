from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow
from redis.asyncio import Redis

from service.broker.queue import Queue
from service.client import AsyncClient
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.live_worker import until
from tests.service.painter import (
    CLASS_CARD,
    FAILING_PROMPT,
    UNCOND_CARD,
    Painter,
    paint,
    painting,
)
from tests.stores import KINDS, Relay, S3Server, s3_settings

PATH = "/v1/images/generations"


def _events(text: str) -> list[tuple[str, dict[str, Any]]]:
    events = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_base64_images_come_best_first(http: httpx.AsyncClient, painter: Painter) -> None:
    body = {"prompt": "a cat", "n": 3, "seed": 5, "response_format": "b64_json"}
    answer = (await http.post(PATH, json=body)).json()
    (job,) = painter.started
    assert [base64.b64decode(item["b64_json"]) for item in answer["data"]] == [
        paint(job, candidate) for candidate in range(3)
    ]
    assert [item["rank"] for item in answer["data"]] == [0, 1, 2]
    assert answer["seed"] == 5
    assert answer["num_candidates"] == 4
    assert answer["usage"]["output_tokens"] == 4 * 16
    assert answer["usage"]["total_tokens"] == 4 * 16 + 8
    assert answer["size"] == "32x32"
    assert answer["prompt_truncated"] is False


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_the_address_of_an_image_gives_the_image(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    answer = (await http.post(PATH, json={"prompt": "a cat", "n": 2})).json()
    assert "b64_json" not in answer["data"][0]
    for rank, item in enumerate(answer["data"]):
        image = await http.get(item["url"])
        assert image.status_code == 200
        assert image.headers["content-type"] == "image/png"
        assert image.content == paint(painter.started[0], rank)


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
async def test_accept_gives_the_picture_itself(
    http: httpx.AsyncClient, painter: Painter, name: str
) -> None:
    body = {"prompt": "a cat", "seed": 9}
    answer = await http.post(PATH, json=body, headers={"accept": f"image/{name}"})
    assert answer.headers["content-type"] == f"image/{name}"
    assert Pillow.open(io.BytesIO(answer.content)).format == name.upper()
    assert answer.headers["x-mindalle-seed"] == "9"
    assert answer.headers["x-mindalle-score"] == "0.5"
    assert answer.headers["x-mindalle-candidate"] == "0"
    assert answer.headers["x-mindalle-job-id"] == painter.started[0].id


async def test_accept_and_output_format_must_agree(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    body = {"prompt": "a cat", "output_format": "webp"}
    answer = await http.post(PATH, json=body, headers={"accept": "image/png"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "output_format"
    any_picture = await http.post(PATH, json=body, headers={"accept": "image/*"})
    assert any_picture.headers["content-type"] == "image/webp"


@pytest.mark.parametrize("results", KINDS, indirect=True)
async def test_a_stream_has_partial_pictures_and_then_the_images(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    body = {"prompt": "a cat", "stream": True, "partial_images": 3, "n": 2, "seed": 3}
    answer = await http.post(PATH, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = _events(answer.text)
    assert [name for name, _ in events] == (
        ["image_generation.partial_image"] * 3 + ["image_generation.completed"] * 2
    )
    assert [data["partial_image_index"] for _, data in events[:3]] == [0, 1, 2]
    assert all(name == data["type"] for name, data in events)
    best = events[3][1]
    assert base64.b64decode(best["b64_json"]) == paint(painter.started[0], 0)
    assert (best["rank"], best["seed"], best["size"]) == (0, 3, "32x32")
    assert answer.headers["x-mindalle-job-id"] == painter.started[0].id


async def test_partial_pictures_are_made_for_streams_only(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    await http.post(PATH, json={"prompt": "a cat", "partial_images": 3})
    assert painter.started[0].partial_images == 0


async def test_a_failed_job_is_a_500_with_its_code(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    answer = await http.post(PATH, json={"prompt": FAILING_PROMPT})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "model_error"


async def test_a_failed_job_ends_a_stream_with_an_error_event(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    answer = await http.post(PATH, json={"prompt": FAILING_PROMPT, "stream": True})
    assert answer.status_code == 200
    ((name, data),) = _events(answer.text)
    assert name == "error"
    assert data["error"]["code"] == "model_error"
    assert set(data["error"]) == {"message", "type", "param", "code"}


async def test_a_long_prompt_is_cut_and_the_answer_says_so(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    answer = await http.post(PATH, json={"prompt": "long " * 13_000})
    assert answer.status_code == 200
    assert answer.json()["prompt_truncated"] is True


async def test_class_and_unconditional_models(http: httpx.AsyncClient, redis: Redis) -> None:
    async with painting(redis, CLASS_CARD) as by_class, painting(redis, UNCOND_CARD) as by_nothing:
        for body in ({"model": "tiny-class", "prompt": "3"}, {"model": "tiny-uncond"}):
            answer = await http.post(PATH, json=body)
            assert answer.status_code == 200, answer.text
        assert by_class.started[0].recipe.prompt == 3
        assert by_nothing.started[0].recipe.prompt is None


async def test_where_nothing_ranks_there_is_no_score(
    http: httpx.AsyncClient, api: LiveApi, redis: Redis
) -> None:
    body = {"model": "tiny-uncond"}
    async with painting(redis, UNCOND_CARD):
        answer = (await http.post(PATH, json=body)).json()
        assert [image["score"] for image in answer["data"]] == [None]
        picture = await http.post(PATH, json=body, headers={"accept": "image/png"})
        assert "x-mindalle-score" not in picture.headers
        ((_, completed),) = _events((await http.post(PATH, json=body | {"stream": True})).text)
        assert completed["score"] is None
        async with AsyncClient(api.url) as client:
            made = await client.generate(None, model="tiny-uncond")
            job = await client.job(made.job_id)
        assert made.images[0].score is None
        assert job.images[0].score is None


async def test_unknown_and_unserved_models(http: httpx.AsyncClient, painter: Painter) -> None:
    unknown = await http.post(PATH, json={"prompt": "a", "model": "dall-e-9"})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "model_not_found"
    assert unknown.json()["error"]["param"] == "model"
    unserved = await http.post(PATH, json={"prompt": "a", "model": "mindalle-1.3b"})
    assert unserved.status_code == 503
    assert unserved.json()["error"]["code"] == "no_worker"
    assert unserved.headers["x-should-retry"] == "true"
    assert int(unserved.headers["retry-after"]) >= 1


async def test_a_passed_deadline_is_a_504(http: httpx.AsyncClient, painter: Painter) -> None:
    painter.gate.clear()
    # Time enough for the painter to have it by then.
    answer = await http.post(PATH, json={"prompt": "a", "deadline_s": 2})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_passed"
    assert answer.headers["x-should-retry"] == "false"
    await until(lambda: painter.evicted)


async def test_a_cancelled_job_is_a_409(http: httpx.AsyncClient, painter: Painter) -> None:
    painter.gate.clear()
    waiting = asyncio.create_task(http.post(PATH, json={"prompt": "a"}))
    await until(lambda: painter.running)
    await http.delete(f"/v1/jobs/{painter.started[0].id}")
    answer = await waiting
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "job_cancelled"
    assert answer.headers["x-should-retry"] == "false"


async def test_redis_outage_is_a_503(
    http: httpx.AsyncClient, painter: Painter, api: LiveApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue's connection is cut, as far as this process can tell."""
    await http.get("/v1/models")
    nowhere = Redis(host="127.0.0.1", port=1)
    cut_off = Queue(nowhere, result_ttl_s=1, idempotency_ttl_s=1)
    monkeypatch.setattr(api.state, "queue", cut_off)
    answer = await http.post(PATH, json={"prompt": "a"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "queue_unavailable"
    assert "retry-after" in answer.headers
    await nowhere.aclose()


async def test_pictures_in_a_store_that_is_away_are_a_503(
    redis: Redis, valkey_server: RedisServer, s3_server: S3Server
) -> None:
    with Relay(s3_server) as relay:
        results = s3_settings(relay.url, timeout_s=2)
        async with (
            serving(api_settings(valkey_server, results=results)) as api,
            painting(redis, results=results),
            api.client() as http,
        ):
            job = (await http.post(PATH, json={"prompt": "a cat"})).json()["job_id"]
            picture = f"/v1/jobs/{job}/images/0"
            whole = await http.get(picture)
            assert whole.headers["content-length"] == str(len(whole.content))
            relay.refusals = 1_000_000
            answer = await http.get(picture)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "results_unavailable"
            assert answer.headers["retry-after"] == "2"
            assert (await http.get(f"/v1/jobs/{job}")).json()["status"] == "succeeded"
            relay.refusals = 0
            assert (await http.get(picture)).content == whole.content
