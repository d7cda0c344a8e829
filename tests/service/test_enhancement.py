"""Finer codes over those of kept pictures, as callers see it: a real worker behind the real API."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from redis.asyncio import Redis

from models.drawing.sampling import RowParams
from models.pipeline import Pipeline, load, to_bytes
from models.presets.register import get_preset
from service.broker.workers import ModelCard
from service.errors import InvalidRequest
from service.jobs import Job, Recipe
from service.worker import offline
from service.worker.pictures import png
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.live_worker import LiveWorker, worker_settings, working
from tests.service.makers import make_job, make_recipe

_MODEL = "tiny-enhance"
_BODY = {"prompt": "a heart", "seed": 5, "num_candidates": 3, "n": 2}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load(_MODEL)


@pytest.fixture
async def live(valkey_server: RedisServer, redis: Redis) -> AsyncIterator[LiveWorker]:
    async with working(worker_settings(valkey_server, model=_MODEL), redis) as at_work:
        yield at_work


@pytest.fixture
async def http(live: LiveWorker, valkey_server: RedisServer) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(api_settings(valkey_server, model=_MODEL)) as api,
        api.client() as opened,
    ):
        yield opened


async def _job(http: httpx.AsyncClient, **own: object) -> tuple[dict[str, Any], list[str]]:
    """A finished job and the addresses of its pictures."""
    answer = (await http.post("/v1/images/generations", json=_BODY | own)).json()
    urls = [image["url"] for image in answer["data"]]
    return (await http.get(urls[0].partition("/images")[0])).json(), urls


async def _files(http: httpx.AsyncClient, urls: list[str], query: str = "") -> list[bytes]:
    return [(await http.get(url + query)).content for url in urls]


def _pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image)


async def test_pictures_are_enhanced_and_the_coarse_ones_are_a_view(
    http: httpx.AsyncClient, live: LiveWorker, pipeline: Pipeline
) -> None:
    job, urls = await _job(http)
    plain, plain_urls = await _job(http, enhance=False)
    finer, coarse = await _files(http, urls), await _files(http, urls, "?level=top")
    assert job["enhance"]
    assert job["views"] == {"level": ["top", "finer"]}
    assert await _files(http, urls, "?level=finer") == finer
    assert "enhance" in job["timings_s"]
    assert live.metric("mindalle_stage_seconds_count", model=_MODEL, stage="enhance") == 1
    for data, view, alone in zip(finer, coarse, await _files(http, plain_urls), strict=True):
        assert np.array_equal(_pixels(view), _pixels(alone))
        assert not np.array_equal(_pixels(data), _pixels(alone))
    assert not plain["enhance"]
    assert plain["views"] == {}
    assert "enhance" not in plain["timings_s"]
    kept = [[image["candidate"] for image in found["images"]] for found in (job, plain)]
    assert kept[0] == kept[1]


async def test_the_worker_and_a_command_make_the_same_file(
    http: httpx.AsyncClient, pipeline: Pipeline, tmp_path: Path
) -> None:
    _, urls = await _job(http)
    path = tmp_path / "picture.png"
    path.write_bytes((await _files(http, urls))[0])
    record = png.read(path)
    assert record.recipe.enhance
    pictures = offline.draw(pipeline, record.recipe, range(3), num_rows=8)
    drawn = offline.encode(record.recipe, pictures[:1], "png", has_prompt=True)
    assert drawn == path.read_bytes()
    top, _ = pipeline.preset.views_of(is_enhanced=True)
    shown = offline.draw(pipeline, record.recipe, range(3), num_rows=8, view=top)
    coarse = offline.encode(record.recipe, shown[:1], "png", has_prompt=True, view="level=top")
    assert [coarse] == await _files(http, urls[:1], "?level=top")


async def test_the_last_glimpse_is_the_coarse_picture(http: httpx.AsyncClient) -> None:
    body = _BODY | {"num_candidates": 1, "n": 1, "stream": True, "partial_images": 2}
    text = (await http.post("/v1/images/generations", json=body)).text
    assert text.count("event: image_generation.partial_image") == 2
    assert '"view":"level=top"' in text.replace(" ", "")


async def test_a_models_card_says_whether_it_enhances(http: httpx.AsyncClient) -> None:
    assert (await http.get(f"/v1/models/{_MODEL}")).json()["enhances"] is True


async def test_a_picture_that_is_only_encoded_stays_as_stage_1_makes_it(
    http: httpx.AsyncClient, pipeline: Pipeline
) -> None:
    file = io.BytesIO()
    Pillow.new("RGB", (32, 32), "teal").save(file, "PNG")
    answer = await http.post("/v1/images/encode", files={"image": file.getvalue()})
    codes = torch.tensor(answer.json()["codes"])[None]
    decoded = await http.post(
        "/v1/images/decode", json={"codes": codes[0].tolist()}, headers={"accept": "image/png"}
    )
    assert np.array_equal(_pixels(decoded.content), to_bytes(pipeline.pixels(codes))[0])


async def test_what_is_kept_of_a_callers_picture_is_not_enhanced(
    http: httpx.AsyncClient,
) -> None:
    source = np.random.default_rng(0).integers(0, 256, (32, 32, 4), np.uint8)
    source[..., 3] = 255
    source[:, 16:, 3] = 0  # to be drawn anew
    file = io.BytesIO()
    Pillow.fromarray(source, "RGBA").save(file, "PNG")
    body = {"prompt": "a heart", "seed": "5", "num_candidates": "1"}
    found = []
    for enhance in ("true", "false"):
        answer = await http.post(
            "/v1/images/edits",
            data=body | {"enhance": enhance},
            files={"image": file.getvalue()},
            headers={"accept": "image/png"},
        )
        found.append(_pixels(answer.content))
    finer, coarse = found
    assert np.array_equal(finer[:, :16], source[:, :16, :3])
    assert not np.array_equal(finer[:, 16:], coarse[:, 16:])


async def test_a_shipped_one_that_is_off_leaves_no_trace_unless_asked_for(
    valkey_server: RedisServer, redis: Redis
) -> None:
    """Nor in the file: that is what a model without one makes."""
    body = {"num_candidates": 1, "n": 1}
    async with (
        working(worker_settings(valkey_server, model="emoji"), redis),
        serving(api_settings(valkey_server, model="emoji")) as api,
        api.client() as http,
    ):
        card = (await http.get("/v1/models/emoji")).json()
        (plain, urls), (off, off_urls), (job, finer_urls) = [
            await _job(http, **body, **own) for own in ({}, {"enhance": False}, {"enhance": True})
        ]
        files = [(await _files(http, found))[0] for found in (urls, off_urls, finer_urls)]
        coarse = (await _files(http, finer_urls, "?level=top"))[0]
    assert card["enhances"] is False
    assert (plain["enhance"], off["enhance"], job["enhance"]) == (None, None, True)
    assert files[0] == files[1]
    assert [b"enhance" in data for data in files] == [False, False, True]
    assert plain["views"] == {}
    shown = [_pixels(data) for data in (files[0], coarse, files[2])]
    assert np.array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[0], shown[2])


async def test_a_model_without_an_enhancement_refuses_one(
    valkey_server: RedisServer, redis: Redis
) -> None:
    async with (
        working(worker_settings(valkey_server), redis),
        serving(api_settings(valkey_server)) as api,
        api.client() as http,
    ):
        refused = await http.post("/v1/images/generations", json=_BODY | {"enhance": True})
        odd = await http.post("/v1/images/generations", json=_BODY | {"enhance": "yes"})
        job, _ = await _job(http, enhance=False)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["message"]) == (
        "enhance",
        "tiny has no enhancement: leave enhance out.",
    )
    assert odd.json()["error"]["message"].startswith('enhance must be true or false; "yes" is not')
    assert job["enhance"] is None


def test_a_recipe_that_the_preset_can_not_make() -> None:
    with pytest.raises(InvalidRequest, match="enhance: tiny has no enhancement"):
        offline.check(make_recipe(enhance=True), get_preset("tiny"))
    offline.check(make_recipe(enhance=True), get_preset(_MODEL))


def test_what_says_nothing_is_not_written_down() -> None:
    """Other releases read these; and the files of other models stay as they are."""
    plain, job = make_recipe(), make_job(enhance=True)
    assert "enhance" not in make_job().to_json()
    assert "enhance" not in png.Record(plain).to_json()
    assert Job.from_json(job.to_json()) == job
    assert png.Record.from_json(png.Record(job.recipe).to_json()).recipe == job.recipe
    assert Recipe.of({"model": "tiny"}).enhance is None


@pytest.mark.parametrize(
    ("by_itself", "says"),
    [(None, [None, None, True]), (False, [None, None, True]), (True, [True, False, True])],
)
def test_a_recipe_says_what_differs_from_a_plain_picture(
    by_itself: bool | None, says: list[bool | None]
) -> None:
    card = ModelCard(_MODEL, enhances=by_itself)
    assert [card.enhance(asked) for asked in (None, False, True)] == says


def test_a_card_of_an_older_release_tells_of_no_enhancement() -> None:
    card = ModelCard(_MODEL, enhances=False)
    traits = card.to_traits()
    assert ModelCard.from_values(card.to_values(), traits) == card
    del traits["enhances"]
    assert ModelCard.from_values(card.to_values(), traits).enhances is None
    assert "enhances" not in card.to_values()


def test_finer_pictures_do_not_depend_on_how_many_threads_make_them(pipeline: Pipeline) -> None:
    recipe = make_recipe(prompt="a heart", num_candidates=3, n=3, enhance=True)
    made = offline.draw(pipeline, recipe, range(3), num_rows=8)
    rows = [RowParams(recipe.seed, picture.candidate) for picture in made]
    alone = pipeline.enhanced(torch.stack([picture.codes for picture in made]), rows)
    assert torch.equal(alone, torch.stack([picture.pixels for picture in made]))
