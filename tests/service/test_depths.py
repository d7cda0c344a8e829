"""A model of several codes a position, as its callers see it: a real worker behind the real API."""

from __future__ import annotations

import asyncio
import base64
import io
import random
from collections.abc import AsyncIterator

import numpy as np
import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent
from PIL import Image as Pillow
from redis.asyncio import Redis

from models.drawing.generate import run_to_end
from models.drawing.sampling import RowParams
from models.pipeline import Pipeline, load, to_bytes
from service.broker.queue import Queue
from service.client.async_client import AsyncClient
from service.jobs import JobStatus
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.live_worker import WAIT_S, LiveWorker, until, worker_settings, working
from tests.service.makers import make_queue, put

_MODEL = "tiny-rq"
_DEPTH, _STEPS = 4, 16
_ROWS = 8
_NO_DEPTHS = ("0", "5", "-1", "01", "two", "")
_TOP_K = (64, 20, 12, 6)
_PIXELS = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load(_MODEL)


@pytest.fixture
async def live(valkey_server: RedisServer, redis: Redis) -> AsyncIterator[LiveWorker]:
    async with working(worker_settings(valkey_server, model=_MODEL), redis) as at_work:
        yield at_work


@pytest.fixture
async def api(live: LiveWorker, valkey_server: RedisServer) -> AsyncIterator[LiveApi]:
    async with serving(api_settings(valkey_server, model=_MODEL)) as serving_api:
        yield serving_api


@pytest.fixture
async def client(api: LiveApi) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{api.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as opened:
        yield opened


@pytest.fixture
async def queue(redis: Redis) -> AsyncIterator[Queue]:
    queue = make_queue(redis)
    await queue.start()
    yield queue
    await queue.close()


def _pixels(data: bytes) -> _PIXELS:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def _views(pipeline: Pipeline, seed: int) -> list[_PIXELS]:
    """What candidate 0 looks like by its first 1, 2, … codes of each position."""
    params = [RowParams(seed, top_k=_TOP_K)]
    prefix = pipeline.prefix(pipeline.encode("a heart"))
    codes = run_to_end(pipeline.batch(_ROWS), prefix, params)
    parts = [codes[..., :depth] for depth in range(1, _DEPTH + 1)]
    return [to_bytes(pipeline.pixels(part))[0] for part in parts]


async def test_openais_client_gets_the_picture_and_its_coarser_views(
    client: openai.AsyncOpenAI, api: LiveApi, live: LiveWorker, pipeline: Pipeline
) -> None:
    own = {"seed": 5, "num_candidates": 1, "top_k": list(_TOP_K)}
    answer = await client.images.generate(prompt="a heart", model=_MODEL, extra_body=own)
    assert answer.data is not None
    assert answer.usage is not None
    assert answer.usage.output_tokens == _STEPS * _DEPTH
    assert live.metric("mindalle_codes_total") == 0  # of `tiny`
    assert live.metric("mindalle_codes_total", model=_MODEL) == _STEPS * _DEPTH
    url, views = answer.data[0].url or "", _views(pipeline, 5)
    async with api.client() as http:
        found = [(await http.get(f"{url}?depth={depth}")).content for depth in range(1, 5)]
        whole = (await http.get(f"{url}?download=1")).content
        job = (await http.get(url.partition("/images")[0])).json()
    assert found[-1] == whole
    for data, wanted in zip(found, views, strict=True):
        assert np.array_equal(_pixels(data), wanted)
    assert (job["parameters"]["top_k"], job["progress"]["codes_done"]) == (list(_TOP_K), 64)
    assert job["views"] == {"depth": ["1", "2", "3", "4"]}


async def test_a_stream_shows_the_rows_and_then_the_depths(
    client: openai.AsyncOpenAI, pipeline: Pipeline
) -> None:
    own = {"seed": 5, "num_candidates": 1, "top_k": list(_TOP_K)}
    stream = await client.images.generate(
        prompt="a heart", model=_MODEL, stream=True, partial_images=3, extra_body=own
    )
    *partial, completed = [event async for event in stream]
    assert isinstance(completed, ImageGenCompletedEvent)
    views = _views(pipeline, 5)
    for event in partial:
        assert isinstance(event, ImageGenPartialImageEvent)
    assert [(event.model_extra or {}).get("view") for event in partial] == [
        None,
        "depth=1",
        "depth=2",
    ]
    rows, *coarser = [_pixels(base64.b64decode(event.b64_json)) for event in partial]
    half = rows.shape[0] // 4  # what lies near the border sees codes that are not drawn yet
    assert rows.shape == views[-1].shape
    assert not np.array_equal(rows[half:], views[-1][half:])
    for found, wanted in zip(coarser, views, strict=False):
        assert np.array_equal(found, wanted)
    assert np.array_equal(_pixels(base64.b64decode(completed.b64_json)), views[-1])


async def test_a_depth_that_is_none_is_one_clear_error(api: LiveApi, queue: Queue) -> None:
    job = await put(queue, model=_MODEL)
    address = f"/v1/jobs/{job.id}/images/0"
    assert (await queue.wait(job.id, WAIT_S)).status == JobStatus.SUCCEEDED
    async with api.client() as http:
        refused = [await http.get(f"{address}?depth={value}") for value in _NO_DEPTHS]
        beyond = await http.get(f"/v1/jobs/{job.id}/images/1?depth=1")
        assert beyond.status_code == 404
        async with AsyncClient(api.url) as ours:
            assert await ours.image(job.id, depth=1) == await queue.image(job.id, 0, "depth=1")
    for answer in refused:
        error = answer.json()["error"]
        assert answer.status_code == 400
        assert error["message"] == "depth can be 1, 2, 3 or 4 for this image."
        assert error["param"] == "depth"


async def test_a_list_of_the_wrong_length_is_one_clear_error(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=f"{_MODEL} wants 4") as caught:
        await client.images.generate(prompt="a heart", extra_body={"top_k": [8, 8, 8]})
    assert caught.value.param == "top_k"


async def test_defaults_and_lengths_are_told(api: LiveApi) -> None:
    async with api.client() as http:
        model = (await http.get(f"/v1/models/{_MODEL}")).json()
    assert (model["depth"], model["views"]) == (4, {"depth": ["1", "2", "3", "4"]})


async def test_jobs_that_join_on_the_way_get_the_same_bytes(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    chance = random.Random(3)
    kinds: list[dict[str, object]] = [
        {"num_candidates": 3, "n": 3, "top_k": _TOP_K, "partial_images": 2},
        {"num_candidates": 9, "n": 2, "temperature": (1.5, 1.0, 0.8, 0.6)},
        {"num_candidates": 1, "top_p": (0.9, 0.9, 0.8, 0.5), "prompt": "a star"},
        {"num_candidates": 2, "n": 2, "top_k": 16, "top_p": 0.9, "size": "48x40"},
    ]
    settings = worker_settings(valkey_server, model=_MODEL, testing={"step_delay_s": 0.01})
    async with working(settings, redis) as live:

        async def made(kind: int, delay_s: float) -> list[bytes]:
            await asyncio.sleep(delay_s)
            job = await put(queue, model=_MODEL, seed=kind, **kinds[kind])
            view = await queue.wait(job.id, WAIT_S)
            assert view.status == JobStatus.SUCCEEDED
            queries = [None, *(f"depth={depth}" for depth in range(1, _DEPTH))]
            return [
                await queue.image(job.id, meta.rank, query)
                for meta in view.images
                for query in queries
            ]

        alone = [await made(kind, 0) for kind in range(len(kinds))]
        before = live.metric("mindalle_batch_joins_total", model=_MODEL)
        order = [*range(len(kinds))] * 2
        chance.shuffle(order)
        together = await asyncio.gather(*(made(kind, chance.random() / 4) for kind in order))
        assert live.metric("mindalle_batch_joins_total", model=_MODEL) > before
    for kind, files in zip(order, together, strict=True):
        assert files == alone[kind]


async def test_a_cancelled_job_leaves_within_eight_steps(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = worker_settings(valkey_server, model=_MODEL, testing={"step_delay_s": 0.1})
    async with working(settings, redis) as live:
        job = await put(queue, model=_MODEL, num_candidates=4)
        await until(lambda: live.metric("mindalle_rows_busy", model=_MODEL) == 4)
        steps = live.metric("mindalle_step_seconds_count", model=_MODEL)
        await queue.cancel(job.id)
        await until(lambda: live.metric("mindalle_rows_busy", model=_MODEL) == 0)
        assert live.metric("mindalle_step_seconds_count", model=_MODEL) - steps <= 8
        await until(lambda: live.metric("mindalle_wasted_codes_total", model=_MODEL) > 0)
        wasted = live.metric("mindalle_wasted_codes_total", model=_MODEL)
        assert wasted % (4 * _DEPTH) == 0
        assert wasted == live.metric("mindalle_codes_total", model=_MODEL)


async def test_a_class_beyond_the_vocabulary_is_one_clear_error(
    valkey_server: RedisServer, redis: Redis
) -> None:
    model = f"{_MODEL}-class"
    async with (
        working(worker_settings(valkey_server, model=model), redis),
        serving(api_settings(valkey_server, model=model)) as api,
        api.client() as http,
    ):
        answers = [
            await http.post("/v1/images/generations", json={"prompt": prompt, "n": 1})
            for prompt in (9, 10)
        ]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].json()["error"]["message"] == (
        f"{model} needs a class id as its prompt: a whole number from 0 to 9, such as 5."
    )
