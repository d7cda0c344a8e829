"""A model of several codes a position, as its callers see it: a real worker behind the real API."""

from __future__ import annotations

import asyncio
import base64
import io
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent
from PIL import Image as Pillow
from redis.asyncio import Redis

from models.configs.preset import Preset
from models.drawing.candidates import draw_all
from models.drawing.sampling import RowParams
from models.pipeline import Pipeline, load, to_bytes
from models.presets.register import get_preset
from service.broker.keys import Key
from service.broker.queue import Queue
from service.broker.workers import Workers
from service.client.async_client import AsyncClient
from service.config.results import ResultsSettings
from service.jobs import JobStatus
from tests.servers import RedisServer
from tests.service.live_api import LiveApi, api_settings, serving
from tests.service.live_worker import WAIT_S, LiveWorker, until, worker_settings, working
from tests.service.makers import put

_MODEL = "tiny-rq"
_DEPTH = 4
_ROWS = 8
_NO_VALUES = ("0", "5", "-1", "01", "two", "")
_PIXELS = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A model, a list of its length, and how its pictures can be looked at."""

    model: str
    top_k: tuple[int, ...]
    view: str
    values: tuple[str, ...]

    @property
    def preset(self) -> Preset:
        return get_preset(self.model)

    @property
    def queries(self) -> list[str]:
        """Of what is coarser than the picture itself."""
        return [f"{self.view}={value}" for value in self.values[:-1]]


_KINDS = (
    Kind(_MODEL, (64, 20, 12, 6), "depth", ("1", "2", "3", "4")),
    Kind("tiny-hq", (30, 5), "level", ("top", "bottom")),
)


@pytest.fixture(scope="module", params=_KINDS, ids=lambda kind: kind.model)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def pipeline(kind: Kind) -> Pipeline:
    return load(kind.model)


@pytest.fixture
async def live(
    kind: Kind, valkey_server: RedisServer, redis: Redis, results: ResultsSettings
) -> AsyncIterator[LiveWorker]:
    settings = worker_settings(valkey_server, model=kind.model, results=results)
    async with working(settings, redis) as at_work:
        yield at_work


@pytest.fixture
async def api(
    kind: Kind, live: LiveWorker, valkey_server: RedisServer, results: ResultsSettings
) -> AsyncIterator[LiveApi]:
    settings = api_settings(valkey_server, model=kind.model, results=results)
    async with serving(settings) as serving_api:
        yield serving_api


@pytest.fixture
async def client(api: LiveApi) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{api.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as opened:
        yield opened


def _pixels(data: bytes) -> _PIXELS:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def _views(pipeline: Pipeline, kind: Kind, seed: int) -> list[_PIXELS]:
    """What candidate 0 looks like by its first codes of each position, from coarse to all."""
    params = [RowParams(seed, top_k=kind.top_k).spread(kind.preset.codes_per_level)]
    prefix = pipeline.prefix(pipeline.encode("a heart"))
    codes = draw_all(pipeline.batch(_ROWS), prefix, params).codes
    parts = [codes[..., : view.depth] for view in kind.preset.views]
    return [to_bytes(pipeline.pixels(part))[0] for part in parts]


@pytest.mark.parametrize("results", ["redis", "s3"], indirect=True)
async def test_openais_client_gets_the_picture_and_its_coarser_views(
    client: openai.AsyncOpenAI, api: LiveApi, live: LiveWorker, pipeline: Pipeline, kind: Kind
) -> None:
    own = {"seed": 5, "num_candidates": 1, "top_k": list(kind.top_k)}
    answer = await client.images.generate(prompt="a heart", model=kind.model, extra_body=own)
    assert answer.data is not None
    assert answer.usage is not None
    num_codes = kind.preset.num_steps * kind.preset.depth
    assert answer.usage.output_tokens == num_codes
    assert live.metric("mindalle_codes_total") == 0  # of `tiny`
    assert live.metric("mindalle_codes_total", model=kind.model) == num_codes
    url, views = answer.data[0].url or "", _views(pipeline, kind, 5)
    async with api.client() as http:
        found = [(await http.get(f"{url}?{kind.view}={v}")).content for v in kind.values]
        whole = (await http.get(f"{url}?download=1")).content
        job = (await http.get(url.partition("/images")[0])).json()
    assert found[-1] == whole
    for data, wanted in zip(found, views, strict=True):
        assert np.array_equal(_pixels(data), wanted)
    assert job["parameters"]["top_k"] == list(kind.top_k)
    assert job["progress"]["codes_done"] == num_codes
    assert job["views"] == {kind.view: list(kind.values)}


async def test_a_stream_shows_the_rows_and_then_the_views(
    client: openai.AsyncOpenAI, pipeline: Pipeline, kind: Kind
) -> None:
    own = {"seed": 5, "num_candidates": 1, "top_k": list(kind.top_k)}
    coarser = kind.queries[:2]
    stream = await client.images.generate(
        prompt="a heart",
        model=kind.model,
        stream=True,
        partial_images=1 + len(coarser),
        extra_body=own,
    )
    *partial, completed = [event async for event in stream]
    assert isinstance(completed, ImageGenCompletedEvent)
    views = _views(pipeline, kind, 5)
    for event in partial:
        assert isinstance(event, ImageGenPartialImageEvent)
    assert [(event.model_extra or {}).get("view") for event in partial] == [None, *coarser]
    rows, *glimpses = [_pixels(base64.b64decode(event.b64_json)) for event in partial]
    half = rows.shape[0] // 4  # what lies near the border sees codes that are not drawn yet
    assert rows.shape == views[-1].shape
    assert not np.array_equal(rows[half:], views[-1][half:])
    for found, wanted in zip(glimpses, views, strict=False):
        assert np.array_equal(found, wanted)
    assert np.array_equal(_pixels(base64.b64decode(completed.b64_json)), views[-1])


async def test_a_view_that_is_none_is_one_clear_error(
    api: LiveApi, queue: Queue, kind: Kind
) -> None:
    job = await put(queue, model=kind.model)
    address = f"/v1/jobs/{job.id}/images/0"
    assert (await queue.wait(job.id, WAIT_S)).status == JobStatus.SUCCEEDED
    coarsest = kind.queries[0]
    async with api.client() as http:
        refused = [await http.get(f"{address}?{kind.view}={value}") for value in _NO_VALUES]
        beyond = await http.get(f"/v1/jobs/{job.id}/images/1?{coarsest}")
        assert beyond.status_code == 404
        async with AsyncClient(api.url) as ours:
            found = await ours.image(job.id, 0, **{kind.view: kind.values[0]})
            assert found == await queue.image(job.id, 0, coarsest)
    *others, last = kind.values
    for answer in refused:
        error = answer.json()["error"]
        assert answer.status_code == 400
        wanted = f"{kind.view} can be {', '.join(others)} or {last} for this image."
        assert (error["message"], error["param"]) == (wanted, kind.view)


async def test_a_list_of_the_wrong_length_is_one_clear_error(
    client: openai.AsyncOpenAI, kind: Kind
) -> None:
    wanted = f"{kind.model} wants {len(kind.top_k)} such"
    with pytest.raises(openai.BadRequestError, match=wanted) as caught:
        await client.images.generate(prompt="a heart", extra_body={"top_k": [8] * 3})
    assert caught.value.param == "top_k"


async def test_depths_levels_and_views_are_told(api: LiveApi, kind: Kind) -> None:
    async with api.client() as http:
        model = (await http.get(f"/v1/models/{kind.model}")).json()
    assert (model["depth"], model["levels"]) == (kind.preset.depth, len(kind.top_k))
    assert model["views"] == {kind.view: list(kind.values)}


async def test_jobs_that_join_on_the_way_get_the_same_bytes(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    chance = random.Random(3)
    kinds: list[dict[str, object]] = [
        {"num_candidates": 3, "n": 3, "top_k": _KINDS[0].top_k, "partial_images": 2},
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
    settings = worker_settings(valkey_server, model=_MODEL, testing={"step_delay_s": 0.3})
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


async def test_views_can_be_switched_off(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    without = {"rows": _ROWS, "id": "w1", "metrics_port": 0, "views": False}
    settings = worker_settings(valkey_server, model=_MODEL, worker=without)
    async with working(settings, redis):
        job = await put(queue, model=_MODEL, partial_images=3)
        view = await queue.wait(job.id, WAIT_S)
        (worker,) = await Workers(redis).list()
    assert (view.status, view.views, worker.card.views) == (JobStatus.SUCCEEDED, (), ())
    assert await redis.hkeys(Key.IMAGES.of(job.id)) == [b"0"]


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
