from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from service.jobs import MAX_CANDIDATES, OutputFormat
from service.worker.pictures import png
from service.worker.pictures.png import NoRecordError, Record
from tests.service.makers import make_recipe

FORMATS: list[OutputFormat] = ["png", "jpeg", "webp"]


def pixels(seed: int = 0) -> NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (32, 24, 3), np.uint8)


def record(**changes: object) -> Record:
    return Record.of(make_recipe(**changes), candidate=3, score=0.25, has_prompt=True)


def test_a_png_keeps_every_pixel() -> None:
    with Pillow.open(io.BytesIO(png.encode(pixels(), "png"))) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), pixels())


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_record_comes_back(output_format: OutputFormat, tmp_path: Path) -> None:
    made = record(prompt="a röd 🍎 “cube”", top_k=7, top_p=0.5, temperature=0.9)
    path = tmp_path / "picture"
    path.write_bytes(png.encode(pixels(), output_format, made))
    with Pillow.open(path) as image:
        assert image.format == output_format.upper()
    assert png.read(path) == made


@pytest.mark.parametrize("output_format", FORMATS)
def test_bytes_are_the_same_every_time(output_format: OutputFormat) -> None:
    first = png.encode(pixels(), output_format, record())
    assert png.encode(pixels(), output_format, record()) == first
    assert png.encode(pixels(), output_format, record(seed=8)) != first


def test_the_prompt_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png.encode(pixels(), "png", record(prompt="secret").without_prompt()))
    assert b"secret" not in path.read_bytes()
    assert not png.read(path).has_prompt


def test_a_prompt_too_long_for_exif_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpeg"
    path.write_bytes(png.encode(pixels(), "jpeg", record(prompt="x" * 65_000)))
    assert not png.read(path).has_prompt
    path.write_bytes(png.encode(pixels(), "png", record(prompt="x" * 65_000)))
    assert png.read(path).recipe.prompt == "x" * 65_000


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", png.encode(pixels(), "png"), png.encode(pixels(), "png")[:200]],
    ids=["empty", "text", "no record", "cut"],
)
def test_files_without_a_record_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(NoRecordError):
        png.read(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 1}', "nonsense"])
def test_damaged_records_are_refused(text: str) -> None:
    with pytest.raises(NoRecordError):
        Record.from_json(text)


@pytest.mark.parametrize("value", [{}, "x", [["x"]], 1.5, True])
@pytest.mark.parametrize("name", ["seed", "n", "num_candidates", "candidate", "top_k"])
def test_records_with_values_of_other_types_are_refused(name: str, value: object) -> None:
    values = json.loads(record().to_json())
    with pytest.raises(NoRecordError):
        Record.from_json(json.dumps(values | {name: value}))


@pytest.mark.parametrize("name", ["model", "size", "temperature", "top_p", "source"])
def test_a_mapping_is_no_value_of_a_record(name: str) -> None:
    values = json.loads(record().to_json())
    with pytest.raises(NoRecordError):
        Record.from_json(json.dumps(values | {name: {"a": 1}}))


def test_a_record_that_asks_for_more_than_a_job_can_is_refused() -> None:
    values = json.loads(record().to_json())
    most = values | {"num_candidates": MAX_CANDIDATES}
    assert Record.from_json(json.dumps(most)).recipe.num_candidates == MAX_CANDIDATES
    with pytest.raises(NoRecordError):
        Record.from_json(json.dumps(most | {"num_candidates": MAX_CANDIDATES + 1}))


def test_a_bottomless_record_is_refused() -> None:
    with pytest.raises(NoRecordError):
        Record.from_json("[" * 100_000)


def test_a_record_of_another_release_can_be_read() -> None:
    made = record(top_k=7)
    values = json.loads(made.to_json())
    assert Record.from_json(json.dumps(values | {"wings": 2, "recipe": "soup"})) == made
    for name in values.keys() - {"model", "seed"}:  # without these nobody could make it again
        fewer = {other: value for other, value in values.items() if other != name}
        assert Record.from_json(json.dumps(fewer)).recipe.seed == made.recipe.seed


def test_a_record_keeps_lists() -> None:
    made = record(top_k=(64, 32), top_p=(0.9, 0.5), temperature=(1.5, 1.0))
    assert json.loads(made.to_json())["top_k"] == [64, 32]
    assert Record.from_json(made.to_json()) == made


def test_a_record_that_tells_no_prompt_has_none() -> None:
    assert not Record.from_json('{"model": "tiny", "seed": 1}').has_prompt


def test_a_sheet_holds_the_pictures_in_order() -> None:
    pictures = [pixels(seed) for seed in range(3)]
    out = png.sheet(pictures, num_columns=2)
    assert out.shape == (64, 48, 3)
    assert np.array_equal(out[:32, 24:], pictures[1])
    assert np.array_equal(out[32:, :24], pictures[2])
    assert (out[32:, 24:] == 255).all()
