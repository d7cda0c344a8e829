from __future__ import annotations

import json

import httpx
import pytest

from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.painter import Painter

PATH = "/v1/images/generations"
PROXIED = {
    "x-forwarded-proto": "https, http",
    "x-forwarded-host": "pics.example, inner",
    "x-forwarded-prefix": "/img",
}


async def _check_addresses(http: httpx.AsyncClient, base: str, below: str = "") -> None:
    """Every address in an answer begins with `base`; requests go to the server at `below`."""
    answer = await http.post(f"{below}/v1/jobs", json={"prompt": "a", "num_candidates": 1})
    job = answer.json()
    where = f"{base}/v1/jobs/{job['id']}"
    assert answer.headers["location"] == where
    events = (await http.get(f"{below}/v1/jobs/{job['id']}/events")).text
    last = json.loads(events.rpartition("data: ")[2])
    assert last["images"][0]["url"] == f"{where}/images/0"
    ended = (await http.get(f"{below}/v1/jobs/{job['id']}/")).json()
    assert ended["images"][0]["url"] == f"{where}/images/0"
    drawn = (await http.post(f"{below}{PATH}", json={"prompt": "a"})).json()
    assert drawn["data"][0]["url"].startswith(f"{base}/v1/jobs/job_")
    document = (await http.get(f"{below}/openapi.json")).json()
    assert document["servers"] == [{"url": base}]
    assert (
        f"'{httpx.URL(base).path.rstrip('/')}/openapi.json'"
        in (await http.get(f"{below}/docs")).text
    )


@pytest.mark.parametrize("below", ["", "/img"])
@pytest.mark.parametrize("public_url", ["https://pics.example/img", "https://pics.example/img/"])
async def test_the_operators_address_is_before_every_path(
    painter: Painter, valkey_server: RedisServer, public_url: str, below: str
) -> None:
    """Whether the proxy takes the prefix off or not, and whatever headers say."""
    settings = api_settings(valkey_server, api={"public_url": public_url, "trust_proxy": True})
    said = {"x-forwarded-host": "other.example", "x-forwarded-prefix": "/other"}
    async with serving(settings) as api, api.client(headers=said) as http:
        await _check_addresses(http, "https://pics.example/img", below)


@pytest.mark.parametrize("below", ["", "/img"])
async def test_a_trusted_proxys_address_is_before_every_path(
    painter: Painter, valkey_server: RedisServer, below: str
) -> None:
    settings = api_settings(valkey_server, api={"trust_proxy": True})
    async with serving(settings) as api, api.client(headers=PROXIED) as http:
        await _check_addresses(http, "https://pics.example/img", below)


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"forwarded": 'for=_x;proto=https;host="pics.example:8443"'}, "https://pics.example:8443"),
        ({"host": "pics.example", "x-forwarded-proto": "https"}, "https://pics.example"),
        (
            {"host": "pics.example:8000", "x-forwarded-proto": "https", "x-forwarded-port": "443"},
            "https://pics.example",
        ),
        ({"x-forwarded-host": "javascript:alert(1)", "host": "a.example"}, "http://a.example"),
        ({"host": "[2001:db8::1]"}, "http://[2001:db8::1]"),
    ],
)
async def test_what_is_not_said_comes_from_the_request(
    painter: Painter, valkey_server: RedisServer, headers: dict[str, str], base: str
) -> None:
    settings = api_settings(valkey_server, api={"trust_proxy": True})
    async with serving(settings) as api, api.client(headers=headers) as http:
        await _check_addresses(http, base)


async def test_several_lines_of_a_header_are_one_list(
    painter: Painter, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, api={"trust_proxy": True})
    lines = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "pics.example"),
        ("x-forwarded-prefix", "/outer"),
        ("x-forwarded-prefix", "/inner"),
    ]
    async with serving(settings) as api, api.client(headers=lines) as http:
        await _check_addresses(http, "https://pics.example/outer/inner")


async def test_nobody_is_believed_unless_trusted(
    http: httpx.AsyncClient, api: LiveApi, painter: Painter
) -> None:
    said = {**PROXIED, "forwarded": "proto=https;host=pics.example"}
    answer = await http.post("/v1/jobs", json={"prompt": "a"}, headers=said)
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"  # as it always was
    drawn = (await http.post(PATH, json={"prompt": "a"}, headers=said)).json()
    assert drawn["data"][0]["url"].startswith(f"{api.url}/v1/jobs/")
    assert "servers" not in (await http.get("/openapi.json", headers=said)).json()
    assert 'src="playground/main.js"' in (await http.get("/", headers=said)).text


async def test_a_hostile_host_is_in_no_answer(
    http: httpx.AsyncClient, api: LiveApi, painter: Painter
) -> None:
    hostile = {"host": 'evil"><script>'}
    drawn = (await http.post(PATH, json={"prompt": "a"}, headers=hostile)).json()
    assert drawn["data"][0]["url"].startswith(f"{api.url}/v1/jobs/")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/status", "/livez", "/metrics", "/docs"])
async def test_both_spellings_of_a_route_answer(
    http: httpx.AsyncClient, api: LiveApi, painter: Painter, path: str
) -> None:
    for spelled in (path, f"{path}/", f"/{path}", path.replace("/v1/", "/v1//")):
        assert (await http.get(api.url + spelled)).status_code == 200, spelled
    assert (await http.post(f"{PATH}/", json={"prompt": "a"})).status_code == 200
    assert (await http.post("/v1/jobs/", json={"prompt": "a"})).status_code == 202


@pytest.mark.parametrize("page", ["", "/img", "/img/"])
async def test_the_page_finds_its_files_below_a_prefix(
    valkey_server: RedisServer, page: str
) -> None:
    settings = api_settings(valkey_server, api={"public_url": "https://pics.example/img"})
    async with serving(settings) as api, api.client() as http:
        text = (await http.get(page)).text
        assert 'src="/img/playground/main.js"' in text
        assert 'href="/img/docs"' in text
        assert 'href="#runs"' in text
        kept = {"if-none-match": (await http.get(page)).headers["etag"]}
        assert (await http.get(page, headers=kept)).status_code == 304
        assert (await http.get("/img/playground/main.js")).status_code == 200


async def test_probes_stay_quiet_in_every_spelling(
    valkey_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = api_settings(valkey_server, api={"public_url": "https://pics.example/img"})
    with caplog.at_level("INFO", "service.access"):
        async with serving(settings) as api, api.client() as http:
            for path in ("/livez", "/livez/", "/img/livez", "/img/livez/"):
                assert (await http.get(path)).status_code == 200
            sample = 'mindalle_http_requests_total{code="200",method="GET",route="/livez"}'
            assert await api.metric(sample) == 4.0
    assert not [record for record in caplog.records if record.name == "service.access"]
