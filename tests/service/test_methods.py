from __future__ import annotations

import httpx
import pytest

from tests.service.live_api import LiveApi
from tests.service.painter import Painter

PATH = "/v1/images/generations"
BODIES: list[dict[str, object]] = [
    {},
    {"json": {"prompt": "a"}},
    {"content": "prompt=a"},
    {"content": "{", "headers": {"content-type": "application/json"}},
    {"files": {"image": ("a.png", b"\x89PNG")}, "data": {"prompt": "a"}},
    {"content": b"x" * 70_000},
]


@pytest.fixture
async def job_path(http: httpx.AsyncClient, painter: Painter) -> str:
    """A job that has ended."""
    drawn = await http.post(PATH, json={"prompt": "a"})
    return f"/v1/jobs/{drawn.json()['job_id']}"


async def _check_head(http: httpx.AsyncClient, path: str) -> None:
    got, headed = await http.get(path), await http.head(path)
    assert headed.status_code == got.status_code, path
    assert headed.content == b""
    names = {"content-type", "content-length", "etag", "cache-control", "location"}
    for name in names & set(got.headers):
        if path != "/metrics":  # its length is another each time
            assert headed.headers[name] == got.headers[name], path
    assert headed.headers["x-request-id"]


async def test_head_works_wherever_get_does(http: httpx.AsyncClient, job_path: str) -> None:
    for path in (
        "/", "/docs", "/openapi.json", "/playground/main.js", "/livez", "/readyz", "/metrics",
        "/v1/models", "/v1/models/tiny", "/v1/status", job_path, f"{job_path}/images/0",
        f"{job_path}/events",
    ):  # fmt: skip
        await _check_head(http, path)


async def test_head_finds_the_same_faults_as_get(http: httpx.AsyncClient, job_path: str) -> None:
    for path in ("/nothing", "/v1/models/none", f"{job_path}/images/9", f"{job_path}/images/x"):
        await _check_head(http, path)
    answer = await http.head(PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    bad = await http.head(f"{job_path}/events", headers={"last-event-id": "x"})
    assert bad.status_code == 400


async def test_head_of_a_running_jobs_events_does_not_wait(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    painter.gate.clear()
    job = (await http.post("/v1/jobs", json={"prompt": "a"})).json()
    answer = await http.head(f"/v1/jobs/{job['id']}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    painter.gate.set()


async def test_head_is_counted_as_what_it_is(http: httpx.AsyncClient, api: LiveApi) -> None:
    await http.head("/v1/jobs/job_1")
    sample = 'mindalle_http_requests_total{code="404",method="HEAD",route="/v1/jobs/{job_id}"}'
    assert await api.metric(sample) == 1.0


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/nothing/else", "/v1/job", "/playground"])
@pytest.mark.parametrize("body", BODIES)
async def test_where_nothing_is_nothing_is_found_whatever_is_sent(
    http: httpx.AsyncClient, path: str, body: dict[str, object]
) -> None:
    for method in ("POST", "PUT", "DELETE", "GET", "HEAD", "OPTIONS", "BREW"):
        answer = await http.request(method, path, **body)  # type: ignore[arg-type]  # by name
        assert answer.status_code == 404, method
        assert answer.headers["x-request-id"]
        if method != "HEAD":
            assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("body", BODIES)
async def test_a_wrong_method_is_told_the_right_ones_whatever_is_sent(
    http: httpx.AsyncClient, body: dict[str, object]
) -> None:
    for method, path, allowed in (
        ("PUT", PATH, "POST"),
        ("GET", "/v1/jobs", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("PUT", "/v1/jobs/job_1", "GET, HEAD, DELETE"),
        ("BREW", "/", "GET, HEAD"),
    ):
        answer = await http.request(method, path, **body)  # type: ignore[arg-type]  # by name
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), (method, path)
        error = answer.json()["error"]
        assert error["code"] == "method_not_allowed"
        assert error["message"] == f"This address takes {allowed}."


async def test_wrong_methods_are_counted_by_route(http: httpx.AsyncClient, api: LiveApi) -> None:
    await http.put("/v1/jobs", content="text")
    sample = 'mindalle_http_requests_total{code="405",method="PUT",route="/v1/jobs"}'
    assert await api.metric(sample) == 1.0


async def test_options_names_what_an_address_takes(http: httpx.AsyncClient) -> None:
    for path, allowed in (
        (PATH, "POST, OPTIONS"),
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/jobs/job_1", "GET, HEAD, DELETE, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ):
        answer = await http.options(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["allow"] == allowed


async def test_a_body_that_nobody_reads_may_be_of_any_type(
    http: httpx.AsyncClient, painter: Painter
) -> None:
    for method, path in (("GET", "/v1/models"), ("DELETE", "/v1/jobs/job_1"), ("HEAD", "/livez")):
        answer = await http.request(method, path, content="text")
        assert answer.status_code in (200, 404)
    unknown = await http.request("GET", "/playground/nothing.js", content="text")
    assert unknown.status_code == 404
    assert (await http.post(PATH, content="text")).status_code == 415
