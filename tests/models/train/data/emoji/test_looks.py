from __future__ import annotations

import numpy as np
import pytest

from models.train.data.emoji import looks


def square(colour: tuple[float, float, float]) -> looks.Floats:
    """A square of one colour with a white eye, in the middle of nothing."""
    rgba = np.zeros((16, 16, 4), np.float32)
    rgba[3:13, 3:13] = (*colour, 1)
    rgba[5:7, 5:7, :3] = 1
    return rgba


@pytest.mark.parametrize("colour", looks.COLOURS)
def test_a_recoloured_picture_has_that_main_colour(colour: str) -> None:
    painted = looks.recolour(square((0.9, 0.6, 0.1)), colour)
    assert looks.main_colour(painted) == colour


def test_recolouring_leaves_other_colours_and_the_outline() -> None:
    before = square((0.9, 0.1, 0.1))
    after = looks.recolour(before, "blue")
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    np.testing.assert_allclose(after[5:7, 5:7], before[5:7, 5:7])


def test_a_grey_picture_is_painted_as_a_whole() -> None:
    after = looks.recolour(square((0.5, 0.5, 0.5)), "green")
    assert looks.main_colour(after) == "green"


def test_a_silhouette_is_dark_and_grayscale_has_no_colour() -> None:
    picture = square((0.9, 0.6, 0.1))
    assert looks.finish(picture, "silhouette")[8, 8, :3].max() < 0.1
    assert np.ptp(looks.finish(picture, "grayscale")[..., :3], axis=-1).max() < 1e-6


@pytest.mark.parametrize("name", looks.BACKGROUNDS)
def test_backgrounds_are_colours_in_range_and_stay_behind(name: str) -> None:
    behind = looks.background(name, 16)
    assert behind.shape == (16, 16, 3)
    assert behind.min() >= 0
    assert behind.max() <= 1
    picture = square((0.9, 0.6, 0.1))
    made = looks.compose(picture, behind)
    np.testing.assert_allclose(made[0], behind[0])
    np.testing.assert_allclose(made[8, 8], picture[8, 8, :3])
