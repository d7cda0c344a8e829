from __future__ import annotations

import re
from importlib.resources import files

import httpx
import pytest

from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving

_LINK = re.compile(r'(?:src|href)="([^"#]+)"')
_IMPORT = re.compile(r'^(?:import|\} from).*"\./([a-z_]+\.js)";$', re.MULTILINE)


def _sources() -> dict[str, str]:
    folder = files("service") / "playground"
    return {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.is_file()}


async def test_the_page_and_all_its_parts_are_served(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for link in _LINK.findall(page.text):
        assert (await http.get(f"/{link}")).status_code == 200, link
    for name, source in _sources().items():
        if name != "index.html":
            answer = await http.get(f"/playground/{name}")
            assert answer.text == source
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_policy_forbids_what_the_page_does_not_need(http: httpx.AsyncClient) -> None:
    policy = (await http.get("/")).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_a_browser_that_has_a_file_does_not_get_it_again(http: httpx.AsyncClient) -> None:
    first = await http.get("/playground/style.css")
    known = {"if-none-match": f'"other", W/{first.headers["etag"]}'}
    again = await http.get("/playground/style.css", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    plain = await http.get("/playground/style.css", headers=known | {"accept-encoding": "identity"})
    assert plain.status_code == 200
    assert "content-encoding" not in plain.headers


async def test_head_answers_like_get(http: httpx.AsyncClient) -> None:
    head, get = await http.head("/"), await http.get("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "..%2Fsettings.py", "%2e%2e/app.py"])
async def test_other_names_are_not_found(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.get(f"/playground/{name}")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_it_can_be_switched_off(valkey_server: RedisServer) -> None:
    settings = api_settings(valkey_server, api={"playground": False})
    async with serving(settings) as api, api.client() as client:
        assert (await client.get("/")).status_code == 404
        assert (await client.get("/playground/main.js")).status_code == 404


async def test_the_page_is_open_where_the_api_needs_a_key(valkey_server: RedisServer) -> None:
    async with serving(api_settings(valkey_server, auth="required")) as api, api.client() as client:
        assert (await client.get("/v1/status")).status_code == 401
        assert (await client.get("/")).status_code == 200


def test_modules_import_what_exists() -> None:
    sources = _sources()
    imported = {name for source in sources.values() for name in _IMPORT.findall(source)}
    assert imported
    assert imported <= set(sources)
    scripts = {name for name in sources if name.endswith(".js")}
    assert scripts - imported == {"main.js", "theme.js"}


def test_nothing_is_inline_and_nothing_is_elsewhere() -> None:
    for name, source in _sources().items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(", source), name
        assert not re.search(r"<style|style=|\son[a-z]+=\"|<script>", source), name
        for url in re.findall(r"https?://[^\s\"'`)]+", source):
            assert url == "http://www.w3.org/2000/svg", (name, url)
