"""What tools send that can't be changed: dall-e-3, 1024x1024, hd; drawn by a real worker."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types import ImageGenCompletedEvent
from PIL import Image as Pillow

from tests.e2e.stack import Stack, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
SETTINGS = {"MINDALLE_API__MODEL_ALIASES": "dall-e-3=tiny", "MINDALLE_API__SIZES": "any"}
RECIPE = {"prompt": "a red cube", "seed": 7, "num_candidates": 1}


@pytest.fixture(scope="module")
def tolerant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with serving(tmp_path_factory.mktemp("tolerant"), settings=SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def native(tolerant: Stack) -> NDArray[np.uint8]:
    """What the model makes of the recipe."""
    return _pixels(_picture(tolerant).content)


def _picture(stack: Stack, **body: object) -> httpx.Response:
    answer = stack.http.post(
        "/v1/images/generations", json=RECIPE | body, headers={"accept": "image/png"}
    )
    assert answer.status_code == 200, answer.text
    return answer


def _pixels(data: bytes) -> NDArray[np.uint8]:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _resampled(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    image = Pillow.fromarray(pixels, "RGB")
    return np.asarray(image.resize((width, height), Pillow.Resampling.LANCZOS))


def test_openais_client_gets_what_it_asks_for(tolerant: Stack, native: NDArray[np.uint8]) -> None:
    with openai.OpenAI(base_url=f"{tolerant.url}/v1", api_key="x", max_retries=0) as client:
        answer = client.images.generate(
            model="dall-e-3",
            prompt="a red cube",
            size="1024x1024",
            quality="hd",
            style="vivid",
            response_format="b64_json",
            extra_body={"seed": 7, "num_candidates": 1},
        )
        assert answer.data is not None
        pixels = _pixels(base64.b64decode(answer.data[0].b64_json or ""))
        assert np.array_equal(pixels, _resampled(native, 1024, 1024))
        assert answer.size == "1024x1024"
        told = answer.model_extra or {}
        assert (told["native_size"], told["model"]) == ("32x32", "tiny")
        assert client.models.retrieve("dall-e-3").id == "dall-e-3"


@pytest.mark.parametrize("size", ["64x48", "16x16", "33x32"])
def test_other_shapes_are_resampled_straight(
    tolerant: Stack, native: NDArray[np.uint8], size: str
) -> None:
    answer = _picture(tolerant, size=size)
    width, height = map(int, size.split("x"))
    assert np.array_equal(_pixels(answer.content), _resampled(native, width, height))
    assert answer.headers["x-mindalle-size"] == size
    assert answer.headers["x-mindalle-native-size"] == "32x32"


def test_the_models_own_size_changes_no_byte(tolerant: Stack) -> None:
    plain = _picture(tolerant).content
    for size in ("auto", "32x32"):
        answer = _picture(tolerant, size=size)
        assert answer.content == plain
        assert answer.headers["x-mindalle-size"] == answer.headers["x-mindalle-native-size"]


def test_a_stream_has_one_size(tolerant: Stack) -> None:
    with openai.OpenAI(base_url=f"{tolerant.url}/v1", api_key="x", max_retries=0) as client:
        events = list(
            client.images.generate(
                model="dall-e-3",
                prompt="a red cube",
                size="256x256",
                stream=True,
                partial_images=2,
            )
        )
    assert len(events) == 3
    for event in events:
        assert event.size == "256x256"
        assert _pixels(base64.b64decode(event.b64_json)).shape == (256, 256, 3)
    assert isinstance(events[-1], ImageGenCompletedEvent)
    assert (events[-1].model_extra or {})["native_size"] == "32x32"


def test_a_job_tells_both_sizes(tolerant: Stack) -> None:
    job = tolerant.http.post("/v1/jobs", json=RECIPE | {"size": "64x64"}).json()
    assert (job["size"], job["native_size"]) == (None, None)
    tolerant.http.get(f"/v1/jobs/{job['id']}/events")
    ended = tolerant.http.get(f"/v1/jobs/{job['id']}").json()
    assert (ended["size"], ended["native_size"]) == ("64x64", "32x32")


def test_a_resampled_file_can_be_made_again(tolerant: Stack, tmp_path: Path) -> None:
    file = tmp_path / "resampled.png"
    file.write_bytes(_picture(tolerant, size="80x80").content)
    assert "the same bytes" in tolerant.command("replay", str(file))
