"""Edits and variations over real HTTP, drawn by a real worker with `tiny`."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow
from redis.asyncio import Redis

from service.broker.keys import Key
from service.broker.workers import ModelCard
from service.worker.pictures import png
from tests.servers import RedisServer
from tests.service.files import file_of, mask_of, noise, pixels_of, square_hole
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.live_worker import worker_settings, working
from tests.service.painter import TEXT_CARD, painting

EDITS, VARIATIONS, GENERATIONS = (
    f"/v1/images/{name}" for name in ("edits", "variations", "generations")
)
_NEVER_HEARD_OF_ANY = replace(TEXT_CARD, takes_pictures=None)  # the last release
_TAKES_NONE = replace(TEXT_CARD, takes_pictures=False)
_AT_THE_SIDE = np.arange(96)[None].repeat(32, 0) < 30  # a hole that `cover` cuts off
_PROMPT = {"prompt": "a red cube", "seed": "7", "response_format": "b64_json"}


@asynccontextmanager
async def _service(server: RedisServer, redis: Redis) -> AsyncIterator[LiveApi]:
    async with working(worker_settings(server), redis), serving(api_settings(server)) as api:
        yield api


def _image(answer: httpx.Response) -> np.ndarray[Any, np.dtype[np.uint8]]:
    assert answer.status_code == 200, answer.text
    return pixels_of(base64.b64decode(answer.json()["data"][0]["b64_json"]))


async def _post(api: LiveApi, path: str, files: dict[str, bytes], **fields: str) -> httpx.Response:
    sent = {name: (f"{name}.png", data) for name, data in files.items()}
    async with api.client() as client:
        return await client.post(path, data=_PROMPT | fields, files=sent)


async def test_outside_of_the_mask_every_pixel_is_the_callers(
    redis: Redis, valkey_server: RedisServer
) -> None:
    picture, hole = noise(), square_hole()
    files = {"image": file_of(picture), "mask": mask_of(hole)}
    async with _service(valkey_server, redis) as api:
        edited = _image(await _post(api, EDITS, files))
        assert np.array_equal(edited[~hole], picture[~hole])
        assert not np.array_equal(edited[hole], picture[hole])
        assert np.array_equal(_image(await _post(api, EDITS, files)), edited)
        other = _image(await _post(api, EDITS, files, seed="8"))
        assert not np.array_equal(other[hole], edited[hole])
        plain = _image(await _post(api, EDITS, files, blend="false"))
        assert not np.array_equal(plain[~hole], picture[~hole])
        await _check_masks_of_all_or_nothing(api, picture)
        await _check_shares(api, picture)
        await _check_a_small_hole(api)
        await _check_what_lies_around(api)


async def _check_masks_of_all_or_nothing(api: LiveApi, picture: Any) -> None:
    whole, nothing = np.ones((32, 32), np.bool_), np.zeros((32, 32), np.bool_)
    async with api.client() as client:
        body = _PROMPT | {"seed": 7}
        plain = _image(await client.post(GENERATIONS, json=body))
    files = {"image": file_of(picture), "mask": mask_of(whole)}
    assert np.array_equal(_image(await _post(api, EDITS, files)), plain)
    files = {"image": file_of(picture), "mask": mask_of(nothing)}
    assert np.array_equal(_image(await _post(api, EDITS, files)), picture)


async def _check_a_small_hole(api: LiveApi) -> None:
    """A clear line thinner than half a pixel of the model's is a column of them, all drawn."""
    line = np.zeros((512, 512), np.bool_)
    line[:, 165:170] = True  # a pixel is 16
    files = {"image": file_of(noise((512, 512))), "mask": mask_of(line)}
    one, other = [_image(await _post(api, EDITS, files, seed=seed)) for seed in ("7", "8")]
    assert np.unique((one != other).nonzero()[1]).tolist() == [10]
    raw = _image(await _post(api, EDITS, files, blend="false"))
    assert np.array_equal(raw[:, 10], one[:, 10])


async def _check_what_lies_around(api: LiveApi) -> None:
    """It is drawn where a share of the rest is kept, though all rows be; not where all is kept."""
    files = {"image": file_of(noise((64, 32)))}
    for keep, is_drawn in (("1", False), ("0.99", True)):
        asked = {"fit": "contain", "keep": keep}
        one, other = [
            _image(await _post(api, VARIATIONS, files, seed=s, **asked)) for s in ("7", "8")
        ]
        assert np.array_equal(one, other) is not is_drawn


async def _check_shares(api: LiveApi, picture: Any) -> None:
    """Nothing kept is plain drawing; all kept is the reconstruction; between is neither."""
    files = {"image": file_of(picture)}
    async with api.client() as client:
        plain = _image(await client.post(GENERATIONS, json=_PROMPT | {"seed": 7}))
    made = {
        name: {
            share: _image(await _post(api, VARIATIONS, files, **{name: share}))
            for share in ("0", "0.5", "1")
        }
        for name in ("keep", "strength")
    }
    assert np.array_equal(made["keep"]["0"], plain)
    assert np.array_equal(made["strength"]["1"], plain)
    assert np.array_equal(made["keep"]["1"], made["strength"]["0"])
    default = _image(await _post(api, VARIATIONS, files))
    assert np.array_equal(default, made["keep"]["0.5"])
    for name in ("keep", "strength"):
        assert len({half.tobytes() for half in made[name].values()}) == 3


async def test_the_same_by_jobs_and_json_and_the_picture_is_gone_with_it(
    redis: Redis, valkey_server: RedisServer
) -> None:
    picture, hole = file_of(noise()), square_hole()
    body = {"prompt": "a red cube", "seed": 7}
    in_json = body | {
        "image": f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        "mask": base64.b64encode(mask_of(hole)).decode(),
    }
    async with _service(valkey_server, redis) as api, api.client() as client:
        wanted = _image(await _post(api, EDITS, {"image": picture, "mask": mask_of(hole)}))
        form = {name: (name, data) for name, data in [("image", picture), ("mask", mask_of(hole))]}
        for options in ({"json": in_json}, {"data": body, "files": form}):
            queued = await client.post("/v1/jobs", **options)
            assert queued.status_code == 202, queued.text
            job = queued.json()
            await client.get(f"/v1/jobs/{job['id']}/events")
            ended = (await client.get(f"/v1/jobs/{job['id']}")).json()
            assert ended["status"] == "succeeded"
            source = ended["source"]
            assert (source["fit"], source["keep"], source["blend"]) == ("cover", None, True)
            file = (await client.get(f"/v1/jobs/{job['id']}/images/0")).content
            assert np.array_equal(pixels_of(file), wanted)
            with Pillow.open(io.BytesIO(file)) as image:
                record = png.Record.from_json(image.info[png.KEYWORD])
            assert record.recipe.seed == 7
            assert record.recipe.source is not None
            assert record.recipe.source.image_sha256 == source["image_sha256"]
            assert not await redis.exists(Key.SOURCE.of(job["id"]))


async def test_a_stream_shows_the_picture_around_the_hole(
    redis: Redis, valkey_server: RedisServer
) -> None:
    picture, hole = noise(), square_hole()
    files = {"image": file_of(picture), "mask": mask_of(hole)}
    async with _service(valkey_server, redis) as api:
        answer = await _post(api, EDITS, files, stream="true", partial_images="2")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data:")]
    assert [event["type"] for event in events] == [
        "image_edit.partial_image",
        "image_edit.partial_image",
        "image_edit.completed",
    ]
    assert events[-1]["usage"]["input_tokens_details"]["image_tokens"] == 16
    for event in events:
        shown = pixels_of(base64.b64decode(event["b64_json"]))
        assert np.array_equal(shown[~hole], picture[~hole])


async def test_a_picture_that_is_gone_ends_its_job_in_words(
    redis: Redis, valkey_server: RedisServer
) -> None:
    async with serving(api_settings(valkey_server)) as api, api.client() as client:
        async with painting(redis, rows=0):
            body = {"prompt": "x", "image": base64.b64encode(file_of(noise())).decode()}
            queued = await client.post("/v1/jobs", json=body)
        await redis.delete(Key.SOURCE.of(queued.json()["id"]))
        async with working(worker_settings(valkey_server), redis):
            await client.get(f"/v1/jobs/{queued.json()['id']}/events")
        ended = (await client.get(f"/v1/jobs/{queued.json()['id']}")).json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "source_lost")


@pytest.mark.parametrize(
    ("card", "status", "code"),
    [(_NEVER_HEARD_OF_ANY, 503, "no_worker_for_pictures"), (_TAKES_NONE, 400, "invalid_value")],
)
async def test_a_worker_that_takes_no_pictures_gets_none(
    redis: Redis, valkey_server: RedisServer, card: ModelCard, status: int, code: str
) -> None:
    async with painting(redis, card) as painter, serving(api_settings(valkey_server)) as api:
        answer = await _post(api, EDITS, {"image": file_of(noise())})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert painter.started == []


async def test_a_form_is_read_as_openais_clients_write_it(
    redis: Redis, valkey_server: RedisServer
) -> None:
    """Lists as `name[]`, objects as `name[key]`, a list of pictures as `image[]`."""
    pictures = [("image[]", ("a.png", file_of(noise())))]
    form = {"prompt": "x", "n": "1", "num_candidates": "1", "top_k[]": "10"}
    async with (
        painting(redis),
        serving(api_settings(valkey_server)) as api,
        api.client() as client,
    ):
        taken = await client.post(EDITS, data=form, files=pictures)
        two = await client.post(EDITS, data=form, files=pictures * 2)
        many = form | {"top_k[]": ["10", "20"]}
        listed = await client.post(EDITS, data=many, files=pictures)
        scored = await client.post(EDITS, data=form | {"accept[min_score]": "0"}, files=pictures)
    assert "tiny wants 1 such numbers in it" in listed.json()["error"]["message"]
    assert "tiny gives its images no scores" in scored.json()["error"]["message"]
    assert taken.status_code == 200, taken.text
    assert two.json()["error"]["message"] == "image can be one picture only."
    assert (two.status_code, two.json()["error"]["param"]) == (400, "image")


@pytest.mark.parametrize("path", [EDITS, VARIATIONS, "/v1/jobs"])
async def test_only_pictures_may_be_longer_than_any_other_body(
    redis: Redis, valkey_server: RedisServer, path: str
) -> None:
    body = {"prompt": "ä" * 40_000, "image": base64.b64encode(file_of(noise())).decode()}
    async with (
        painting(redis) as painter,
        serving(api_settings(valkey_server)) as api,
        api.client() as client,
    ):
        answer = await client.post(path, json=body)
        form = {"prompt": body["prompt"]}
        in_form = await client.post(path, data=form, files={"image": file_of(noise())})
    for refused in (answer, in_form):
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")
        assert "can have at most 65536 bytes" in refused.json()["error"]["message"]
    assert painter.started == []


@pytest.mark.parametrize("field", ["mask", "keep", "strength"])
async def test_what_is_about_a_picture_needs_one(
    redis: Redis, valkey_server: RedisServer, field: str
) -> None:
    value = base64.b64encode(mask_of(square_hole())).decode() if field == "mask" else 0.5
    async with (
        painting(redis),
        serving(api_settings(valkey_server)) as api,
        api.client() as client,
    ):
        answer = await client.post("/v1/jobs", json={"prompt": "x", field: value})
        long = await client.post("/v1/jobs", json={"prompt": "x" * 70_000})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert long.status_code == 413


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({}, {}, "image"),
        ({"keep": "2"}, {"image": b"x"}, "keep"),
        ({"keep": "0.5", "strength": "0.5"}, {"image": b"x"}, "strength"),
        ({"fit": "squash"}, {"image": b"x"}, "fit"),
        ({"image": "https://example.com/a.png"}, {}, "image"),
        ({"image": "%%%"}, {}, "image"),
        ({}, {"image": b"no picture"}, "image"),
        ({}, {"image": file_of(noise()), "mask": file_of(noise((16, 16)))}, "mask"),
        ({}, {"image": file_of(noise()), "mask": file_of(noise())}, "mask"),
        ({}, {"image": file_of(noise((96, 32))), "mask": mask_of(_AT_THE_SIDE)}, "mask"),
        ({}, {"image": mask_of(_AT_THE_SIDE)}, "image"),
        ({"n": "many"}, {"image": file_of(noise())}, "n"),
        ({"wings": "2"}, {"image": file_of(noise())}, "wings"),
    ],
)
async def test_what_is_wrong_is_said_of_its_field(
    redis: Redis, valkey_server: RedisServer, fields: dict[str, str], files: Any, param: str
) -> None:
    async with painting(redis), serving(api_settings(valkey_server)) as api:
        answer = await _post(api, EDITS, files or {"nothing": b""}, **fields)
    assert answer.status_code == 400, answer.text
    if files or "image" in fields:
        assert answer.json()["error"]["param"] == param
