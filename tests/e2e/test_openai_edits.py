"""OpenAI's own clients in Python and in Node, unmodified: edits, streamed edits, variations."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from openai.types import ImageEditCompletedEvent, ImageEditPartialImageEvent

from tests.e2e.npm import fetched
from tests.e2e.stack import Stack
from tests.service.files import file_of, mask_of, noise, pixels_of, square_hole

# The time limit is for the first run, which fetches the packages.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
_PICTURE, _HOLE = noise(), square_hole()
_PAGE = Path(__file__).with_name("openai_page")


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="unused", max_retries=0) as opened:
        yield opened


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A picture and a mask."""
    image, mask = tmp_path / "picture.png", tmp_path / "mask.png"
    image.write_bytes(file_of(_PICTURE))
    mask.write_bytes(mask_of(_HOLE))
    return image, mask


def _check_kept(content: str | None) -> None:
    """Outside of the hole it is the picture, inside it is not."""
    found = pixels_of(base64.b64decode(content or ""))
    assert np.array_equal(found[~_HOLE], _PICTURE[~_HOLE])
    assert not np.array_equal(found[_HOLE], _PICTURE[_HOLE])


def test_python_edits(client: openai.OpenAI, files: tuple[Path, Path]) -> None:
    image, mask = files
    with image.open("rb") as opened, mask.open("rb") as other:
        answer = client.images.edit(
            image=opened,
            mask=other,
            prompt="a red cube",
            n=2,
            size="auto",
            response_format="b64_json",
            extra_body={"seed": 7},
        )
    assert answer.data is not None
    assert len(answer.data) == 2
    for made in answer.data:
        _check_kept(made.b64_json)
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.image_tokens == 16
    several = client.images.edit(
        image=[image.read_bytes()], mask=mask.read_bytes(), prompt="x", response_format="b64_json"
    )
    _check_kept((several.data or [])[0].b64_json)


def test_python_streams_an_edit(client: openai.OpenAI, files: tuple[Path, Path]) -> None:
    image, mask = files
    events = list(
        client.images.edit(
            image=image, mask=mask, prompt="a red cube", stream=True, partial_images=2
        )
    )
    kinds = [type(event) for event in events]
    assert kinds == [ImageEditPartialImageEvent] * 2 + [ImageEditCompletedEvent]
    for event in events:
        _check_kept(event.b64_json)


def test_python_varies(client: openai.OpenAI, files: tuple[Path, Path]) -> None:
    with pytest.warns(
        DeprecationWarning, match="deprecated"
    ):  # OpenAI's own models don't vary any more
        answer = client.images.create_variation(image=files[0], n=2, response_format="b64_json")
    assert answer.data is not None
    first, second = (pixels_of(base64.b64decode(made.b64_json or "")) for made in answer.data)
    assert not np.array_equal(first, second)
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(openai.BadRequestError) as caught,
    ):
        client.images.create_variation(image=b"no picture")
    assert (caught.value.param, caught.value.code) == ("image", "invalid_value")


def test_node_edits_streams_and_varies(
    stack: Stack, files: tuple[Path, Path], request: pytest.FixtureRequest
) -> None:
    assert request.config.cache is not None
    folder = fetched(_PAGE, request.config.cache)
    command = ["node", "edits.mjs", stack.url, *map(str, files)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert len(made["edited"]) == len(made["varied"]) == 2
    for content in made["edited"]:
        _check_kept(content)
    assert [kind for kind, _ in made["streamed"]] == [
        "image_edit.partial_image",
        "image_edit.partial_image",
        "image_edit.completed",
    ]
    for _, content in made["streamed"]:
        _check_kept(content)
