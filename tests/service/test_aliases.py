from __future__ import annotations

import httpx
import pytest
from redis.asyncio import Redis

from service.api.app import create_app
from service.config.aliases import check_aliases, read_aliases
from service.errors import StartRefused
from service.settings import load
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.painter import CLASS_CARD, Painter, painting

PATH = "/v1/images/generations"
ALIASES = "dall-e-3=tiny, gpt-image-1 = tiny,classes=tiny-class,later=emoji"


def test_pairs_are_read() -> None:
    assert read_aliases("") == {}
    assert read_aliases("dall-e-3=emoji,") == {"dall-e-3": "emoji"}
    assert read_aliases(" a = emoji , b=tiny, a=emoji") == {"a": "emoji", "b": "tiny"}
    assert read_aliases("模型=emoji") == {"模型": "emoji"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dall-e-3", r"'dall-e-3' is not name=preset, such as dall-e-3=emoji"),
        ("=emoji", "is not name=preset"),
        ("dall-e-3=", "is not name=preset"),
        ("dall-e-3:emoji", "is not name=preset"),
        ("a=b=c", "is not name=preset"),
        ("a" * 201 + "=emoji", "is not name=preset"),
        ("a=emoji,a=tiny", "'a' can't be both 'emoji' and 'tiny'"),
    ],
)
def test_what_is_no_pair_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    monkeypatch.setenv("MINDALLE_API__MODEL_ALIASES", text)
    with pytest.raises(StartRefused, match=rf"^MINDALLE_API__MODEL_ALIASES: .*{reason}"):
        load()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dall-e-3=emojy", "no preset 'emojy'; there are .*emoji"),
        ("emoji=tiny", "'emoji' is a preset itself"),
        ("a=tiny,b=a", "no preset 'a'"),
    ],
)
def test_an_alias_needs_a_preset_and_hides_none(
    valkey_server: RedisServer, text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        check_aliases(read_aliases(text), frozenset({"emoji", "tiny"}))
    with pytest.raises(StartRefused, match=f"MINDALLE_API__MODEL_ALIASES: .*{reason}"):
        create_app(api_settings(valkey_server, api={"model_aliases": text}))


async def test_an_alias_draws_with_its_preset(
    painter: Painter, redis: Redis, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, api={"model_aliases": ALIASES})
    async with serving(settings) as api, api.client() as http, painting(redis, CLASS_CARD):
        for name in ("dall-e-3", "gpt-image-1", "tiny"):
            drawn = await http.post(PATH, json={"prompt": "a", "model": name, "quality": "hd"})
            assert drawn.json()["model"] == "tiny"  # what it is
        job = await http.post("/v1/jobs", json={"prompt": "a", "model": "dall-e-3"})
        assert job.json()["model"] == "tiny"
        assert await api.metric('mindalle_jobs_admitted_total{model="tiny"}') == 4.0
        later = await http.post(PATH, json={"prompt": "a", "model": "later"})
        assert (later.status_code, later.json()["error"]["code"]) == (503, "no_worker")


async def test_aliases_are_listed_and_say_so(
    painter: Painter, redis: Redis, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, api={"model_aliases": ALIASES})
    async with serving(settings) as api, api.client() as http:
        listed = {model["id"]: model for model in (await http.get("/v1/models")).json()["data"]}
        assert list(listed) == ["tiny", "dall-e-3", "gpt-image-1"]  # those that are served
        assert listed["tiny"]["alias_of"] is None
        assert listed["dall-e-3"] == listed["tiny"] | {"id": "dall-e-3", "alias_of": "tiny"}
        assert (await http.get("/v1/models/dall-e-3")).json() == listed["dall-e-3"]
        assert (await http.get("/v1/models/later")).status_code == 404


@pytest.mark.parametrize("written", ["vendor/draw-1", "vendor%2Fdraw-1"])
async def test_an_alias_with_a_slash_is_found_by_its_name(
    painter: Painter, valkey_server: RedisServer, written: str
) -> None:
    settings = api_settings(valkey_server, api={"model_aliases": "vendor/draw-1=tiny"})
    async with serving(settings) as api, api.client() as http:
        found = await http.get(f"/v1/models/{written}")
        assert (found.status_code, found.json().get("id")) == (200, "vendor/draw-1")
        counted = 'http_requests_total{code="200",method="GET",route="/v1/models/{model}"}'
        assert await api.metric(f"mindalle_{counted}") == 1


async def test_the_refusal_names_the_setting(http: httpx.AsyncClient, painter: Painter) -> None:
    answer = await http.post(PATH, json={"prompt": "a", "model": "dall-e-3"})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "MINDALLE_API__MODEL_ALIASES" in error["message"]


async def test_idempotency_sees_the_body_not_the_alias(
    painter: Painter, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, api={"model_aliases": ALIASES})
    key = {"idempotency-key": "k"}
    async with serving(settings) as api, api.client() as http:
        body = {"prompt": "a", "model": "dall-e-3"}
        first, again = [await http.post("/v1/jobs", json=body, headers=key) for _ in range(2)]
        assert first.json()["id"] == again.json()["id"]
        other = await http.post("/v1/jobs", json=body | {"model": "gpt-image-1"}, headers=key)
        assert other.status_code == 422
