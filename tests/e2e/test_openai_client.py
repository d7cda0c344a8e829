"""OpenAI's own Python client, unmodified, against the running service."""

from __future__ import annotations

import asyncio
import base64
import io
import urllib.request
from collections.abc import Iterator

import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent
from PIL import Image as Pillow
from redis.asyncio import Redis

from tests.e2e.stack import Stack
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.painter import painting

# The time limit is for machines that are busy with other work: a worker starts in the set-up.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="unused", max_retries=0) as opened:
        yield opened


def _picture(data: bytes) -> Pillow.Image:
    picture = Pillow.open(io.BytesIO(data))
    picture.load()
    return picture


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_images_as_base64(client: openai.OpenAI, n: int) -> None:
    answer = client.images.generate(prompt="a red cube", n=n, response_format="b64_json")
    assert answer.data is not None
    assert len(answer.data) == n
    for image in answer.data:
        assert image.url is None
        assert _picture(base64.b64decode(image.b64_json or "")).size == (32, 32)
    assert answer.output_format == "png"
    assert answer.size == "32x32"
    assert answer.background == "opaque"
    assert answer.created > 1_600_000_000
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_images_as_addresses(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a red cube", n=2, model="tiny", size="auto")
    assert answer.data is not None
    for image in answer.data:
        assert image.b64_json is None
        assert image.url is not None
        with urllib.request.urlopen(image.url, timeout=20) as file:
            assert file.headers["content-type"] == "image/png"
            assert _picture(file.read()).size == (32, 32)


def test_own_parameters_go_through_extra_body(client: openai.OpenAI) -> None:
    files = [
        client.images.generate(
            prompt="a red cube",
            response_format="b64_json",
            extra_body={"seed": 11, "num_candidates": 2, "top_k": 16, "temperature": 0.9},
        )
        for _ in range(2)
    ]
    first, second = (answer.data[0].b64_json for answer in files if answer.data)
    assert first == second
    assert (files[0].model_extra or {})["seed"] == 11


def test_fields_that_mean_nothing_here_do_no_harm(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="a red cube",
        quality="high",
        background="opaque",
        moderation="auto",
        output_compression=50,
        style="natural",
        user="someone",
    )
    assert answer.data


def test_a_stream_has_growing_pictures_and_the_image(client: openai.OpenAI) -> None:
    events = list(client.images.generate(prompt="a red cube", stream=True, partial_images=3))
    *partial, completed = events
    assert isinstance(completed, ImageGenCompletedEvent)
    assert [event.type for event in partial] == ["image_generation.partial_image"] * 3
    for index, event in enumerate(partial):
        assert isinstance(event, ImageGenPartialImageEvent)
        assert event.partial_image_index == index
        assert (event.quality, event.background, event.size) == ("auto", "opaque", "32x32")
        assert _picture(base64.b64decode(event.b64_json)).size == (32, 32)
    assert _picture(base64.b64decode(completed.b64_json)).size == (32, 32)
    assert completed.usage.output_tokens > 0
    assert len({event.b64_json for event in events}) == 4


def test_a_bad_field_is_a_bad_request_that_names_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="a red cube", n=11)
    assert caught.value.param == "n"
    assert caught.value.code == "invalid_value"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="a red cube", extra_body={"cfg_scale": 7})
    assert caught.value.param == "cfg_scale"
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="a red cube", size="1024x1024")
    assert caught.value.param == "size"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(prompt="a red cube", model="dall-e-2")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_model_that_nobody_serves_is_a_server_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.generate(prompt="a red cube", model="mindalle-1.3b")
    assert caught.value.status_code == 503
    assert caught.value.code == "no_worker"


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert "tiny" in [model.id for model in client.models.list()]
    assert client.models.retrieve("tiny").object == "model"


def test_a_client_that_times_out_leaves_the_service_well(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.001).images.generate(prompt="a red cube")
    assert client.images.generate(prompt="a red cube").data


def _draw_at(url: str, max_retries: int) -> bool:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=max_retries) as client:
        return bool(client.images.generate(prompt="a red cube").data)


async def test_a_busy_server_is_asked_again_when_it_says(
    redis: Redis, valkey_server: RedisServer
) -> None:
    """A second image is allowed after three seconds; Retry-After says so and the client waits."""
    settings = api_settings(valkey_server, queue={"key_rate_per_s": 0.35, "key_burst": 1})
    async with painting(redis), serving(settings) as api:
        two = [asyncio.to_thread(_draw_at, api.url, 2) for _ in range(2)]
        assert await asyncio.gather(*two) == [True, True]
        sample = 'mindalle_jobs_rejected_total{model="tiny",reason="rate_limit_exceeded"}'
        assert await api.metric(sample) >= 1.0


async def test_a_busy_server_is_a_rate_limit_error(
    redis: Redis, valkey_server: RedisServer
) -> None:
    settings = api_settings(valkey_server, queue={"key_rate_per_s": 0.001, "key_burst": 1})
    async with painting(redis), serving(settings) as api:
        assert await asyncio.to_thread(_draw_at, api.url, 0)
        with pytest.raises(openai.RateLimitError) as caught:
            await asyncio.to_thread(_draw_at, api.url, 0)
        assert caught.value.code == "rate_limit_exceeded"
        assert int(caught.value.response.headers["retry-after"]) > 1
