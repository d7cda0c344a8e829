"""However small a hole is, it is found again on the model's pixels, where it lay."""

from __future__ import annotations

import io
from math import ceil, floor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from service.errors import InvalidRequest
from service.sources.prepared import Prepared, prepare
from service.sources.source import DEFAULT_KEEP, Fit, Source
from tests.service.files import file_of, mask_of, noise, square_hole

_Hole = NDArray[np.bool_]


def _hole(prepared: Prepared) -> _Hole:
    with Pillow.open(io.BytesIO(prepared.data)) as image:
        hole: _Hole = np.asarray(image.getchannel("A")) == 0
    return hole


def _masked(hole: _Hole, fit: Fit = "cover", side: int = 64) -> Prepared:
    size = hole.shape[1], hole.shape[0]
    return prepare(file_of(noise(size)), mask_of(hole), Source("a", "b", fit), (side, side))


def _clear(hole: _Hole, kind: str = "PNG") -> bytes:
    """A picture that is itself transparent in the hole."""
    alpha = np.where(hole, 0, 255).astype(np.uint8)
    return file_of(np.dstack([noise((hole.shape[1], hole.shape[0])), alpha]), kind, lossless=True)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_thin_line_in_a_large_picture_is_a_hole(kind: str) -> None:
    hole = np.zeros((1024, 1024), np.bool_)
    hole[:, 500:507] = True
    wanted = np.zeros((64, 64), np.bool_)
    wanted[:, 31] = True  # 496 to 511
    assert np.array_equal(_hole(_masked(hole)), wanted)
    assert np.array_equal(_hole(prepare(_clear(hole, kind), None, Source("a"), (64, 64))), wanted)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_small_squares_are_holes_where_they_lie(side: int) -> None:
    hole = np.zeros((256, 256), np.bool_)
    for at in (17, 64, 200):
        hole[at : at + side, at : at + side] = True
    wanted = hole.reshape(64, 4, 64, 4).any((1, 3))
    assert np.array_equal(_hole(_masked(hole)), wanted)


@pytest.mark.parametrize("fit", ["cover", "stretch", "contain"])
@pytest.mark.parametrize("size", [(50, 37), (37, 50), (13, 11), (333, 200)])
def test_a_pixel_that_a_clear_one_touches_is_open_and_no_other(
    fit: Fit, size: tuple[int, int]
) -> None:
    """Places of a single clear pixel, by where its four edges come to lie."""
    width, height = size
    steps = width / 32, height / 32
    if fit == "cover":
        steps = (min(steps),) * 2
    for x, y in ((width // 2, height // 2), (width // 3, height // 2), (width // 2, height // 4)):
        hole = np.zeros((height, width), np.bool_)
        hole[y, x] = True
        found = _hole(_masked(hole, fit, 32))
        if fit == "contain":  # beside the picture all is open
            longer = max(size)
            inner = round(width * 32 / longer), round(height * 32 / longer)
            left, top = (round((32 - side) / 2) for side in inner)
            found = found[top : top + inner[1], left : left + inner[0]]
            steps = width / inner[0], height / inner[1]
        spans = []
        for at, given, wanted, step in zip(
            (y, x), (height, width), found.shape, steps[::-1], strict=True
        ):
            first = (given - wanted * step) / 2
            spans.append(
                slice(floor((at - first) / step + 1e-9), ceil((at + 1 - first) / step - 1e-9))
            )
        expected = np.zeros_like(found)
        expected[tuple(spans)] = True
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("factor", [1, 2, 5, 16])
def test_edges_that_fall_on_the_models_own_stay_there(factor: int) -> None:
    native = square_hole() | square_hole(start=22, stop=23)
    large = np.kron(native, np.ones((factor, factor), np.bool_))
    assert np.array_equal(_hole(_masked(large, side=32)), native)


def test_what_is_nearly_opaque_is_no_hole() -> None:
    levels = np.dstack([noise((64, 64)), np.full((64, 64), 128, np.uint8)])
    assert not prepare(file_of(levels), None, Source("a"), (32, 32)).has_hole
    levels[5, 7, 3] = 127
    assert _hole(prepare(file_of(levels), None, Source("a"), (32, 32))).sum() == 1


def test_a_hole_that_is_cut_off_is_refused_and_its_file_named() -> None:
    hole = np.zeros((32, 96), np.bool_)
    hole[:, :20] = True
    by_itself = prepare(_clear(hole), None, Source("a"), (64, 64))
    for prepared, source, field in (
        (_masked(hole), Source("a", "b"), "mask"),
        (by_itself, Source("a"), "image"),
    ):
        with pytest.raises(InvalidRequest, match=f"{field} is transparent only where") as caught:
            prepared.complete(source)
        assert caught.value.param == field
    shared = Source("a", keep=0.25)
    assert by_itself.complete(shared) == shared
    for fit in ("contain", "stretch"):
        assert _masked(hole, fit).complete(Source("a", "b")).keep is None


def test_a_mask_without_a_hole_keeps_all_and_a_picture_without_one_its_upper_half() -> None:
    nothing = np.zeros((48, 96), np.bool_)
    assert _masked(nothing).complete(Source("a", "b")) == Source("a", "b")
    plain = prepare(file_of(noise((96, 48))), None, Source("a"), (64, 64))
    assert plain.complete(Source("a")).keep == DEFAULT_KEEP
