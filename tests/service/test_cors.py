from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from service.api.http.cors import EXPOSED_HEADERS
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.painter import Painter

ORIGIN = "http://localhost:3000"
PATH = "/v1/images/generations"
# What OpenAI's JavaScript client sends from a browser.
STAINLESS = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout"  # noqa: E501 - as it is sent
# Readable without being named (Fetch Standard), of no use to a page, or about the connection.
_NOT_EXPOSED = {"cache-control", "content-type", "content-length", "date", "vary", "connection",
                "transfer-encoding", "x-content-type-options", "x-frame-options", "referrer-policy",
                "content-security-policy", "x-accel-buffering", "server",
                "cross-origin-opener-policy", "cross-origin-resource-policy"}  # fmt: skip


@pytest.fixture
async def api(valkey_server: RedisServer, painter: Painter) -> AsyncIterator[LiveApi]:
    settings = api_settings(
        valkey_server,
        api={"cors_origins": f"{ORIGIN},null"},
        api_keys=SecretStr("me:enough-of-a-key"),
        queue={"key_rate_per_s": 0.01, "key_burst": 2},
    )
    async with serving(settings) as live:
        yield live


@pytest.fixture
async def http(api: LiveApi) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"origin": ORIGIN, "authorization": "Bearer enough-of-a-key"}
    async with api.client(headers=headers) as client:
        yield client


async def _preflight(
    http: httpx.AsyncClient, path: str = PATH, method: str = "POST", **headers: str
) -> httpx.Response:
    asked = {"access-control-request-method": method} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return await http.options(path, headers=asked)


@pytest.mark.parametrize(
    ("path", "method", "asked"),
    [
        (PATH, "POST", STAINLESS),
        (PATH, "POST", "Authorization, Idempotency-Key, X-Mine"),
        ("/v1/jobs", "POST", "idempotency-key,traceparent,x-request-id"),
        ("/v1/jobs/job_1", "DELETE", "authorization"),
        ("/v1/jobs/job_1/events", "GET", "last-event-id,cache-control"),
        ("/v1/models", "HEAD", "authorization"),
        ("/v1/models", "PATCH", "authorization"),  # so that the page can read the 405
    ],
)
async def test_what_a_listed_origin_asks_for_is_allowed(
    http: httpx.AsyncClient, path: str, method: str, asked: str
) -> None:
    answer = await _preflight(http, path, method, access_control_request_headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == asked
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    assert "origin" in answer.headers["vary"].lower()


async def test_a_preflight_may_ask_for_no_header_and_for_a_private_network(
    http: httpx.AsyncClient,
) -> None:
    plain = await _preflight(http)
    assert "access-control-allow-headers" not in plain.headers
    assert "access-control-allow-private-network" not in plain.headers
    private = await _preflight(http, access_control_request_private_network="true")
    assert private.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", ["http://localhost:3001", "https://localhost:3000", "Null"])
async def test_any_other_origin_is_told_which_setting_lists_them(
    http: httpx.AsyncClient, origin: str
) -> None:
    answer = await _preflight(http, origin=origin)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers
    assert answer.json()["error"]["code"] == "origin_not_allowed"
    assert "MINDALLE_API__CORS_ORIGINS" in answer.json()["error"]["message"]
    simple = await http.get("/livez", headers={"origin": origin})
    assert simple.status_code == 200
    assert "access-control-allow-origin" not in simple.headers
    assert simple.headers["vary"] == "Origin"


async def test_pages_from_files_come_in_when_listed(http: httpx.AsyncClient) -> None:
    answer = await http.get("/livez", headers={"origin": "null"})
    assert answer.headers["access-control-allow-origin"] == "null"


def _check_readable(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed == set(EXPOSED_HEADERS)
    unseen = {name for name in answer.headers if not name.startswith("access-control-")} - exposed
    assert unseen <= _NOT_EXPOSED


async def test_every_answer_can_be_read_by_a_page(
    api: LiveApi, http: httpx.AsyncClient, valkey_server: RedisServer
) -> None:
    _check_readable(await http.get("/nothing"), 404)
    _check_readable(await http.put(PATH), 405)
    _check_readable(await http.post(PATH, json={"prompt": "a", "n": 0}), 400)
    _check_readable(await http.post(PATH, json={"prompt": "x" * 65_536}), 413)
    _check_readable(await http.post(PATH, content="prompt=a"), 415)
    _check_readable(await http.get("/v1/models", headers={"authorization": "Bearer no"}), 401)
    job = await http.post("/v1/jobs", json={"prompt": "a"})
    _check_readable(job, 202)
    _check_readable(await http.get(f"/v1/jobs/{job.json()['id']}/events"), 200)  # a stream
    _check_readable(await http.get(f"/v1/jobs/{job.json()['id']}/images/0"), 200)
    _check_readable(
        await http.post(PATH, json={"prompt": "a"}, headers={"accept": "image/png"}), 200
    )
    _check_readable(await http.post(PATH, json={"prompt": "a"}), 429)
    _check_readable(await http.get("/"), 200)
    with valkey_server.frozen():
        await asyncio.sleep(0.3)  # as long as the catalog remembers
        _check_readable(await http.get("/v1/models"), 503)
    api.state.is_draining = True
    _check_readable(await http.post(PATH, json={"prompt": "a"}), 503)


async def test_an_unforeseen_error_can_be_read_by_a_page(
    http: httpx.AsyncClient, api: LiveApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(api.state.catalog, "_look")
    _check_readable(await http.get("/v1/models"), 500)


async def test_a_star_lets_every_page_in_without_its_cookies(valkey_server: RedisServer) -> None:
    settings = api_settings(valkey_server, api={"cors_origins": "*,http://localhost:3000"})
    async with (
        serving(settings) as api,
        api.client(headers={"origin": "https://x.example"}) as http,
    ):
        for answer in (await http.get("/livez"), await _preflight(http)):
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers


async def test_without_the_setting_no_page_is_let_in(valkey_server: RedisServer) -> None:
    settings = api_settings(valkey_server)
    async with serving(settings) as api, api.client(headers={"origin": ORIGIN}) as http:
        assert (await _preflight(http)).status_code == 400
        answer = await http.get("/livez")
        assert not any(name.startswith("access-control-") for name in answer.headers)


@pytest.mark.parametrize(
    ("origin", "site", "status"),
    [
        ("https://other.example", "cross-site", 400),
        ("http://[", "cross-site", 400),
        ("http://127.0.0.1:1", "same-site", 400),
        ("https://behind.example", "same-origin", 202),  # a proxy tells us another host
        ("http://HOST", "same-origin", 202),
        ("http://HOST", "", 202),  # of a page without TLS, browsers tell no more
        (ORIGIN, "cross-site", 202),
    ],
)
async def test_no_form_of_a_strange_page_makes_a_job(
    api: LiveApi, http: httpx.AsyncClient, painter: Painter, origin: str, site: str, status: int
) -> None:
    headers = {"origin": origin.replace("HOST", api.url.partition("://")[2])}
    headers |= {"sec-fetch-site": site} if site else {}
    files = {"prompt": (None, "a red apple")}
    answer = await http.post("/v1/jobs", files=files, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 400:
        assert answer.json()["error"]["code"] == "origin_not_allowed"
