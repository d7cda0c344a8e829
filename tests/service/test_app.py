from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.queue import Queue
from service.broker.workers import Workers
from service.jobs import JobStatus
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.makers import put
from tests.service.painter import TEXT_CARD, Painter, painting
from tests.service.test_catalog import INFO

PATH = "/v1/images/generations"


def _check_envelope(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_every_error_has_the_envelope(http: httpx.AsyncClient, painter: Painter) -> None:
    json_type = {"content-type": "application/json"}
    calls: list[tuple[int, str, str, dict[str, Any]]] = [
        (404, "GET", "/nothing", {}),
        (404, "GET", "/v1/models/nothing", {}),
        (405, "PUT", PATH, {}),
        (405, "DELETE", "/livez", {}),
        (413, "POST", PATH, {"json": {"prompt": "x" * 65_536}}),
        (415, "POST", PATH, {"content": "prompt=x"}),
        (400, "POST", PATH, {"content": "{", "headers": json_type}),
        (400, "POST", PATH, {"content": "[]", "headers": json_type}),
        (400, "POST", PATH, {"content": "[" * 60_000, "headers": json_type}),
        (400, "POST", PATH, {"content": "9" * 60_000, "headers": json_type}),
        (400, "POST", PATH, {"content": b"\xff\xfe{", "headers": json_type}),
        (400, "POST", PATH, {}),
        (400, "POST", PATH, {"json": {"prompt": "x", "n": 0}}),
    ]
    for status, method, path, options in calls:
        error = _check_envelope(await http.request(method, path, **options), status)
        assert error["type"] == "invalid_request_error"


async def test_a_bad_request_is_not_to_be_tried_again(http: httpx.AsyncClient) -> None:
    answer = await http.post(PATH, json={"n": 0})
    assert answer.headers["x-should-retry"] == "false"


async def test_a_wrong_method_names_the_right_ones(http: httpx.AsyncClient) -> None:
    assert (await http.put(PATH)).headers["allow"] == "POST"


async def test_the_request_id_of_the_client_comes_back(http: httpx.AsyncClient) -> None:
    answer = await http.get("/livez", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"


async def test_a_full_queue_is_a_fast_429(redis: Redis, valkey_server: RedisServer) -> None:
    settings = api_settings(valkey_server, queue={"max_depth": 1})
    await Painter(redis, TEXT_CARD).announce()  # it lives, but takes no jobs
    async with serving(settings) as api, api.client() as http:
        assert (await http.post("/v1/jobs", json={"prompt": "a"})).status_code == 202
        answer = await http.post(PATH, json={"prompt": "a"})
        error = _check_envelope(answer, 429)
        assert error["code"] == "queue_full"
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["x-should-retry"] == "true"
        sample = 'mindalle_jobs_rejected_total{model="tiny",reason="queue_full"}'
        assert await api.metric(sample) == 1.0
        assert await api.metric('mindalle_queue_jobs{model="tiny"}') == 1.0


async def test_a_key_over_its_rate_is_told_when_to_come_back(
    painter: Painter, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, queue={"key_rate_per_s": 0.01, "key_burst": 2})
    async with serving(settings) as api, api.client() as http:
        left = []
        for _ in range(2):
            answer = await http.post("/v1/jobs", json={"prompt": "a"})
            assert answer.headers["x-ratelimit-limit-requests"] == "2"
            left.append(answer.headers["x-ratelimit-remaining-requests"])
        assert left == ["1", "0"]
        refused = await http.post(PATH, json={"prompt": "a"})
        told = _check_envelope(refused, 429)
        assert told["code"] == "rate_limit_exceeded"
        assert "all who come without one" in str(told["message"])  # as this caller does
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(refused.headers["retry-after"]) <= 100


async def test_api_keys_guard_everything_but_probes_and_pictures(
    painter: Painter, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, api_keys=SecretStr("alice:key-one-1,bob:key-two-2"))
    async with serving(settings) as api, api.client() as http:
        for method, path in [("POST", PATH), ("POST", "/v1/jobs"), ("GET", "/v1/models"),
                             ("GET", "/v1/status"), ("GET", "/v1/jobs/x")]:  # fmt: skip
            answer = await http.request(method, path, json={"prompt": "a"})
            if path != "/v1/jobs/x":
                assert _check_envelope(answer, 401)["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
            assert (await http.get(path)).status_code == 200
        wrong = await http.get("/v1/models", headers={"authorization": "Bearer three"})
        assert "three" not in _check_envelope(wrong, 401)["message"]
        alice = {"authorization": "Bearer key-one-1"}
        answer = await http.post(PATH, json={"prompt": "a"}, headers=alice)
        assert (await http.get(answer.json()["data"][0]["url"])).status_code == 200


async def test_a_job_belongs_to_the_key_that_made_it(
    painter: Painter, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, api_keys=SecretStr("alice:key-one-1,bob:key-two-2"))
    painter.gate.clear()
    async with serving(settings) as api, api.client() as http:
        alice, bob = ({"authorization": f"Bearer {key}"} for key in ("key-one-1", "key-two-2"))
        job = (await http.post("/v1/jobs", json={"prompt": "a"}, headers=alice)).json()
        path = f"/v1/jobs/{job['id']}"
        for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
            answer = await http.request(method, path + rest, headers=bob)
            assert _check_envelope(answer, 404)["code"] == "job_not_found"
        assert (await http.get(path, headers=alice)).json()["status"] in {"queued", "running"}


async def test_ready_means_redis_and_a_live_worker(
    http: httpx.AsyncClient, redis: Redis, api: LiveApi
) -> None:
    workers = Workers(redis)

    async def reason_with(**changes: Any) -> str | None:
        await workers.heartbeat(replace(INFO, **changes))
        await asyncio.sleep(0.3)  # as long as the catalog remembers
        answer = await http.get("/readyz")
        assert (answer.status_code == 200) == (answer.json()["status"] == "ok")
        reason: str | None = answer.json().get("reason")
        return reason

    assert "no live worker" in (await http.get("/readyz")).json()["reason"]
    assert "no live worker" in str(await reason_with(state="loading"))
    assert "no live worker" in str(await reason_with(is_progressing=False))
    assert await reason_with(state="ready") is None
    assert "no live worker" in str(await reason_with(state="draining"))
    await workers.heartbeat(INFO)
    api.state.is_draining = True
    assert (await http.get("/readyz")).json()["reason"] == "draining"
    assert (await http.get("/livez")).status_code == 200


async def test_without_redis_the_process_lives_and_says_so(tmp_path_factory: Any) -> None:
    server = RedisServer("valkey", tmp_path_factory.mktemp("gone"))
    async with serving(api_settings(server)) as api, api.client() as http:
        assert (await http.get("/livez")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "redis does not answer")
        answer = await http.post(PATH, json={"prompt": "a"})
        assert _check_envelope(answer, 503)["code"] == "queue_unavailable"
        assert await api.metric("mindalle_redis_up") == 0.0
        server.start()
        client = Redis.from_url(server.url)
        async with painting(client):
            await asyncio.sleep(0.3)
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.post(PATH, json={"prompt": "a"})).status_code == 200
        await client.aclose()
    server.stop()


async def test_a_silent_redis_is_answered_for_all_at_once(
    redis: Redis, valkey_server: RedisServer
) -> None:
    timeout_s = 2.0
    quick = {"url": SecretStr(valkey_server.url), "timeout_s": timeout_s}
    async with serving(api_settings(valkey_server, redis=quick)) as api, api.client() as http:
        assert (await http.get("/v1/models")).status_code == 200
        await asyncio.sleep(0.3)  # longer than the catalog remembers
        with valkey_server.frozen():
            began = time.monotonic()
            calls = [http.get(path) for path in 4 * ["/readyz", "/v1/models", "/v1/status"]]
            calls += [http.post(PATH, json={"prompt": "a"}) for _ in range(4)]
            answers = await asyncio.gather(*calls)
            assert {answer.status_code for answer in answers} == {503}
            assert "mindalle_redis_up 0.0" in (await http.get("/metrics")).text
            assert time.monotonic() - began < 4 * timeout_s


async def test_a_redis_that_may_drop_jobs_is_not_used(tmp_path_factory: Any) -> None:
    options = ("--maxmemory-policy", "allkeys-lru")
    server = RedisServer("valkey", tmp_path_factory.mktemp("lru"), options=options)
    server.start()
    async with serving(api_settings(server)) as api, api.client() as http:
        async with asyncio.timeout(30):
            while not api.state.is_draining:
                await asyncio.sleep(0.01)
        assert (await http.post(PATH, json={"prompt": "a"})).status_code == 503
    server.stop()


@pytest.mark.parametrize("results", ["file"], indirect=True)
@pytest.mark.parametrize("broken", [Key.LIVE.of("another"), Key.FILES.of()])
async def test_a_sweep_that_nobody_foresaw_could_fail_is_told_and_tried_again(
    api: LiveApi, redis: Redis, queue: Queue, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.sadd(Key.MODELS.of(), "another")
    await redis.set(broken, "not what we write there")
    async with asyncio.timeout(30):
        while "a part of the API failed" not in caplog.text:
            await asyncio.sleep(0.01)
    await redis.delete(broken)
    await redis.zadd(Key.FILES.of(), {"job_that_is_gone": 0})
    late = await put(queue, deadline_s=0.1)
    async with asyncio.timeout(30):
        while await redis.exists(Key.FILES.of()):
            await asyncio.sleep(0.01)
        while (await queue.get(late.id)).status != JobStatus.EXPIRED:
            await asyncio.sleep(0.01)


async def test_a_draining_server_refuses_work(api: LiveApi, http: httpx.AsyncClient) -> None:
    api.state.is_draining = True
    answer = await http.post(PATH, json={"prompt": "a"})
    assert _check_envelope(answer, 503)["code"] == "draining"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["connection"] == "close"  # the next try shall reach another process


async def test_status_shows_queue_and_rows(http: httpx.AsyncClient, painter: Painter) -> None:
    painter.gate.clear()
    await http.post("/v1/jobs", json={"prompt": "a", "num_candidates": 8})
    async with asyncio.timeout(30):
        while not painter.running:
            await asyncio.sleep(0.01)
    status = (await http.get("/v1/status")).json()
    assert status["queue"] == {"waiting": 0, "running": 1, "candidates": 8, "oldest_age_s": 0.0}
    assert status["rows_total"] == 128
    assert status["eta_s"] > 0
    painter.gate.set()


async def test_models_are_shown_with_limits_and_licence(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    listed = (await http.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert listed["data"] == [(await http.get("/v1/models/tiny")).json()]
    (model,) = listed["data"]
    assert (model["id"], model["licence"], model["size"]) == ("tiny", "Apache-2.0", "32x32")
    assert model["limits"]["max_candidates"] == 96
    assert model["defaults"] == {
        "num_candidates": 4, "top_k": 32, "top_p": None, "temperature": 1.0
    }  # fmt: skip


async def test_pages_of_other_origins_are_let_in_by_name_only(
    valkey_server: RedisServer,
) -> None:
    asking = {"origin": "https://a.example", "access-control-request-method": "POST"}
    allowed = api_settings(valkey_server, api={"cors_origins": "https://a.example"})
    async with serving(allowed) as api, api.client() as http:
        answer = await http.options(PATH, headers=asking)
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        other = await http.options(PATH, headers=asking | {"origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers
    async with serving(api_settings(valkey_server)) as api, api.client() as http:
        answer = await http.get("/livez", headers=asking)
        assert "access-control-allow-origin" not in answer.headers


async def test_metrics_label_routes_by_template(api: LiveApi, http: httpx.AsyncClient) -> None:
    await http.get("/v1/jobs/job_1")
    sample = 'mindalle_http_requests_total{code="404",method="GET",route="/v1/jobs/{job_id}"}'
    assert await api.metric(sample) == 1.0
