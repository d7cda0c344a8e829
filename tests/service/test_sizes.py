from __future__ import annotations

import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from service.jobs import Job
from service.worker.pictures import png
from service.worker.pictures.png import NoRecordError, Record
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.painter import Painter
from tests.service.test_png import pixels, record

PATH = "/v1/images/generations"


async def _asked(http: httpx.AsyncClient, painter: Painter, size: object) -> Job:
    """The job that reaches the worker."""
    answer = await http.post(PATH, json={"prompt": "a", "size": size})
    assert answer.status_code == 200, answer.text
    return painter.started[-1]


async def test_the_refusal_names_the_setting(http: httpx.AsyncClient, painter: Painter) -> None:
    answer = await http.post(PATH, json={"prompt": "a", "size": "1024x1024"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "size"
    assert error["message"] == (
        'tiny makes "32x32": send that, or "auto". Where MINDALLE_API__SIZES is any, this server '
        "resamples to other sizes."
    )
    for size in (None, "auto", "32x32"):
        assert (await _asked(http, painter, size)).size == "32x32"


@pytest.mark.parametrize(
    ("size", "travels"),
    [
        ("1024x1024", "1024x1024"),
        ("1792x1024", "1792x1024"),
        ("1x2048", "1x2048"),
        ("0064x064", "64x64"),
        ("032x32", "32x32"),
        ("auto", "32x32"),
        (None, "32x32"),
    ],
)
async def test_any_size_travels_to_the_worker(
    painter: Painter, valkey_server: RedisServer, size: str | None, travels: str
) -> None:
    settings = api_settings(valkey_server, api={"sizes": "any"})
    async with serving(settings) as api, api.client() as http:
        assert (await _asked(http, painter, size)).size == travels


@pytest.mark.parametrize("size", ["٦٤x٦٤", "64", "64×64", "64x64 ", "big"])
async def test_what_is_no_size(http: httpx.AsyncClient, size: str) -> None:
    answer = await http.post(PATH, json={"prompt": "a", "size": size})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "size"


@pytest.mark.parametrize("size", ["0x64", "64x0", "2049x64", "99999x99999"])
async def test_there_is_a_largest_and_a_smallest(
    painter: Painter, valkey_server: RedisServer, size: str
) -> None:
    settings = api_settings(valkey_server, api={"sizes": "any"})
    async with serving(settings) as api, api.client() as http:
        answer = await http.post(PATH, json={"prompt": "a", "size": size})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["param"] == "size"
        assert error["message"] == 'size can be from "1x1" to "2048x2048", such as "1024x1024".'


async def test_a_worker_of_the_last_release_is_told_by_its_size(
    painter: Painter, valkey_server: RedisServer
) -> None:
    """It resamples nothing, as the painter does; the answer says what came, not what was asked."""
    settings = api_settings(valkey_server, api={"sizes": "any"})
    async with serving(settings) as api, api.client() as http:
        answer = (await http.post(PATH, json={"prompt": "a", "size": "64x64"})).json()
        assert (answer["size"], answer["native_size"]) == ("32x32", "32x32")


def test_resampling_is_pillows_lanczos() -> None:
    image = Pillow.open(io.BytesIO(png.encode(pixels(), "png", record(), "50x70")))
    expected = Pillow.fromarray(pixels(), "RGB").resize((50, 70), Pillow.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_a_size_of_its_own_changes_no_byte() -> None:
    assert png.resampled_size("auto", pixels()) is None
    assert png.resampled_size("24x32", pixels()) is None
    assert png.resampled_size("32x24", pixels()) == "32x24"
    assert "size" not in json.loads(record().to_json())


def test_the_record_of_a_resampled_file_says_its_size() -> None:
    made = Record.of(record().recipe, 0, 0.5, has_prompt=True, size="64x64")
    assert json.loads(made.to_json())["size"] == "64x64"
    assert Record.from_json(made.to_json()) == made
    for size in ("99999x99999", "0x1", "big", 64):
        damaged = json.dumps(json.loads(made.to_json()) | {"size": size})
        with pytest.raises(NoRecordError):
            Record.from_json(damaged)
