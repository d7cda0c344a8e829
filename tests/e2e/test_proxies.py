"""The API behind real proxies, set up as deploy/proxies has them: addresses, streams, bodies."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from tests.e2e.browser import chromium, watched_page
from tests.e2e.proxies import caddy, nginx
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.painter import Painter, painting

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
PATH = "/v1/images/generations"
MAX_BODY_BYTES = 10_485_760
# One more proxy, which adds to what the one before it says, as RFC 7239 wants.
INNER = """
server {
    listen 80;
    location /inner/ {
        proxy_pass http://127.0.0.1:8000/;
        proxy_http_version 1.1;
        proxy_set_header X-Forwarded-Proto "$http_x_forwarded_proto, $scheme";
        proxy_set_header X-Forwarded-Host "$http_x_forwarded_host, $http_host";
        proxy_set_header X-Forwarded-Prefix "$http_x_forwarded_prefix, /inner";
    }
}
"""
# What one writes who has read no manual: the prefix stays on, and nothing is said.
PLAIN = """
server {
    listen 80;
    location / { proxy_pass http://127.0.0.1:8000; }
}
"""
Proxy = Callable[[Path, int], AbstractContextManager[int]]


@pytest.fixture
async def painter(redis: Redis) -> AsyncIterator[Painter]:
    async with painting(redis) as at_work:
        yield at_work


@asynccontextmanager
async def _api_port(server: RedisServer, **api: object) -> AsyncIterator[int]:
    """The API with room for large bodies; gives its port."""
    settings = api_settings(server, api={"max_body_bytes": MAX_BODY_BYTES, **api})
    async with serving(settings) as live:
        yield live.port


def _client(url: str, trust: ssl.SSLContext | bool = True) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, verify=trust)


async def _check_addresses(http: httpx.AsyncClient, base: str) -> None:
    queued = await http.post("/v1/jobs", json={"prompt": "a"})
    assert queued.status_code == 202, queued.text
    assert queued.headers["location"] == f"{base}/v1/jobs/{queued.json()['id']}"
    drawn = (await http.post(f"{PATH}/", json={"prompt": "a"})).json()
    url = drawn["data"][0]["url"]
    assert url.startswith(f"{base}/v1/jobs/")
    picture = await http.get(url)
    assert picture.headers["content-type"] == "image/png"
    assert (await http.head(url)).headers["content-length"] == str(len(picture.content))


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    chosen: Proxy = request.param
    return chosen


async def test_the_shipped_configurations(
    proxy: Proxy, painter: Painter, valkey_server: RedisServer, tmp_path: Path
) -> None:
    async with _api_port(valkey_server, trust_proxy=True) as backend:
        with proxy(tmp_path / "proxy", backend) as port:
            base = f"http://127.0.0.1:{port}/img"
            async with _client(base) as http:
                await _check_addresses(http, base)
                await _check_spellings(http)
                await _check_hostile_headers(http, base)
                await _check_body_limits(http)
                await _check_stream(http, painter)


async def _check_spellings(http: httpx.AsyncClient) -> None:
    for path in ("/v1/models", "/v1/models/", "/livez", "/docs/", "", "/"):
        answer = await http.get(str(http.base_url).rstrip("/") + path)
        assert answer.status_code == 200, path
    page = (await http.get("/")).text
    assert 'src="/img/playground/main.js"' in page
    missing = await http.get("/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


async def _check_hostile_headers(http: httpx.AsyncClient, base: str) -> None:
    said = {
        "forwarded": "proto=https;host=evil.example",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-port": "81",
        "x-forwarded-prefix": "/evil",
    }
    queued = await http.post("/v1/jobs", json={"prompt": "a"}, headers=said)
    assert queued.headers["location"].startswith(f"{base}/v1/jobs/")


async def _check_body_limits(http: httpx.AsyncClient) -> None:
    json_type = {"content-type": "application/json"}
    large = b'{"prompt": "a"' + b" " * (MAX_BODY_BYTES - 15) + b"}"
    assert (await http.post("/v1/jobs", content=large, headers=json_type)).status_code == 202


async def _check_stream(http: httpx.AsyncClient, painter: Painter) -> None:
    """The first events come while the job still runs."""
    painter.gate.clear()
    body = {"prompt": "a", "stream": True, "partial_images": 2}
    async with http.stream("POST", PATH, json=body) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: image_generation.partial_image"
        painter.gate.set()
        names = [line async for line in lines if line.startswith("event: ")]
    assert names[-1] == "event: image_generation.completed"


@pytest.mark.parametrize("spelled", ["/img", "/img/"])
async def test_the_page_works_below_a_path(
    painter: Painter, valkey_server: RedisServer, tmp_path: Path, spelled: str
) -> None:
    async with _api_port(valkey_server, trust_proxy=True) as backend:
        with nginx(tmp_path / "proxy", backend) as port:
            address = f"http://127.0.0.1:{port}{spelled}"
            async with chromium() as browser, watched_page(browser, address) as watched:
                await watched.page.fill("#prompt", "a red apple")
                await watched.page.click("#draw")
                await watched.page.wait_for_selector("button.tile img")


async def test_two_proxies_in_a_row(
    painter: Painter, valkey_server: RedisServer, tmp_path: Path
) -> None:
    async with _api_port(valkey_server, trust_proxy=True) as backend:
        with (
            nginx(tmp_path / "inner", backend, INNER) as inner,
            nginx(tmp_path / "outer", inner) as port,
        ):
            base = f"http://127.0.0.1:{port}/img/inner"
            async with _client(base) as http:
                await _check_addresses(http, base)


async def test_tls_ends_at_the_proxy(
    certificate: Path, painter: Painter, valkey_server: RedisServer, tmp_path: Path
) -> None:
    listen = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}"
    async with _api_port(valkey_server, trust_proxy=True) as backend:
        with nginx(tmp_path / "proxy", backend, listen=listen) as port:
            base = f"https://127.0.0.1:{port}/img"
            trust = ssl.create_default_context(cafile=str(certificate))
            async with _client(base, trust) as http:
                await _check_addresses(http, base)
                answer = await http.get("/v1/models/")
                assert answer.status_code == 200  # and no redirect to plain http


async def test_a_proxy_that_says_nothing_needs_the_public_address(
    painter: Painter, valkey_server: RedisServer, tmp_path: Path
) -> None:
    public = "https://pics.example/img"
    async with _api_port(valkey_server, public_url=public) as backend:
        with nginx(tmp_path / "proxy", backend, PLAIN) as port:
            async with _client(f"http://127.0.0.1:{port}/img") as http:
                queued = await http.post("/v1/jobs", json={"prompt": "a"})
                assert queued.headers["location"].startswith(f"{public}/v1/jobs/job_")
                events = (await http.get(f"/v1/jobs/{queued.json()['id']}/events")).text
                url = json.loads(events.rpartition("data: ")[2])["images"][0]["url"]
                assert url.startswith(f"{public}/v1/jobs/job_")
                assert (await http.get("/v1/models/")).status_code == 200


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed one for 127.0.0.1, with its key in the same file."""
    path = tmp_path / "here.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=here"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", "-"]
    done = subprocess.run(command, check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(done.stdout)
    return path
