from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from service.errors import InvalidRequest
from service.sources.prepared import prepare
from service.sources.source import Source
from tests.service.files import file_of, mask_of, noise, square_hole

_SIZE = (32, 32)


def _opened(data: bytes) -> Any:
    with Pillow.open(io.BytesIO(data)) as image:
        assert image.mode == "RGBA"
        return np.array(image)


def test_a_picture_of_the_models_size_is_kept_as_it_is() -> None:
    image, mask = file_of(noise()), mask_of(square_hole())
    prepared = prepare(image, mask, Source("a"), _SIZE)
    found = _opened(prepared.data)
    assert np.array_equal(found[..., :3], noise())
    assert np.array_equal(found[..., 3] == 0, square_hole())
    assert prepared.has_hole


def test_without_a_mask_its_own_transparency_is_the_hole() -> None:
    alpha = np.where(square_hole(), 0, 255).astype(np.uint8)
    prepared = prepare(file_of(np.dstack([noise(), alpha])), None, Source("a"), _SIZE)
    found = _opened(prepared.data)
    assert np.array_equal(found[..., 3] == 0, square_hole())
    assert np.array_equal(found[~square_hole()][:, :3], noise()[~square_hole()])
    assert len(np.unique(found[square_hole()][:, :3], axis=0)) == 1  # nothing of what was erased
    assert not prepare(file_of(noise()), None, Source("a"), _SIZE).has_hole


def test_three_ways_to_fit() -> None:
    """A picture of red, green and blue thirds, three times as wide as high."""
    thirds = np.zeros((32, 96, 3), np.uint8)
    for third in range(3):
        thirds[:, 32 * third : 32 * third + 32, third] = 255
    found = {
        fit: _opened(prepare(file_of(thirds), None, Source("a", fit=fit), _SIZE).data)
        for fit in ("cover", "contain", "stretch")
    }
    assert (found["cover"][4:28, 4:28, :3] == (0, 255, 0)).all()
    assert (found["cover"][..., 3] == 255).all()
    assert (found["stretch"][16, 2, :3] == (255, 0, 0)).all()
    contained = found["contain"]
    assert (contained[0, :, 3] == 0).all()  # what is around it is to be drawn
    assert (contained[16, :, 3] == 255).all()
    assert (contained[16, 28, :3] == (0, 0, 255)).all()


@pytest.mark.parametrize("size", [(1, 17), (600, 30)])
def test_very_long_pictures_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest, match="at most 16 times"):
        prepare(file_of(noise(size)), None, Source("a", fit="contain"), _SIZE)


def test_the_longest_that_is_taken_fits_every_way() -> None:
    for fit in ("cover", "contain", "stretch"):
        assert _opened(
            prepare(file_of(noise((1, 16))), None, Source("a", fit=fit), (8, 8)).data
        ).shape == (8, 8, 4)
