"""Several pictures of a service in one file, as `mindalle generate --url` keeps them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from service import cli
from service.worker.pictures import png
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.live_worker import worker_settings, working

_FLAGS = (
    "--num-candidates",
    "3",
    "-n",
    "2",
    "--seed",
    "7",
    "--top-k",
    "20",
    "--temperature",
    "0.5",
)


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.chdir(tmp_path)


async def test_a_sheet_of_a_service_can_be_made_again(
    valkey_server: RedisServer, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    aliased = {"model_aliases": "dall-e-3=tiny"}
    async with (
        working(worker_settings(valkey_server), redis),
        serving(api_settings(valkey_server, api=aliased)) as api,
    ):
        for name in ("s.png", "s.webp"):
            call = ["generate", "a cat", *_FLAGS, "--model", "dall-e-3", "--url", api.url]
            assert await asyncio.to_thread(cli.main, [*call, "-o", name]) == 0
    recipe = png.read(Path("s.png")).recipe
    assert (recipe.model, recipe.prompt, recipe.seed) == ("tiny", "a cat", 7)
    assert (recipe.top_k, recipe.temperature, recipe.num_candidates) == (20, 0.5, 3)
    for name in ("s.png", "s.webp"):
        capsys.readouterr()
        assert await asyncio.to_thread(cli.main, ["replay", name]) == 0
        assert "the same bytes" in capsys.readouterr().out


@pytest.mark.usefixtures("painter")
async def test_of_pictures_without_a_record_it_has_none(api: LiveApi) -> None:
    call = ["generate", "a cat", "-n", "2", "--url", api.url, "-o", "s.png"]
    assert await asyncio.to_thread(cli.main, call) == 0
    with pytest.raises(png.NoRecordError):
        png.read(Path("s.png"))
