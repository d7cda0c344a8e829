"""Pictures made harder to know stay pictures of the same things."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.train.recipes.distortion import distorted

STRENGTHS = (0.3, 1.0)


def numbers(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def halves(count: int = 64) -> Tensor:
    """Red on the left, black on the right."""
    images = torch.full((count, 3, 32, 32), -1.0)
    images[:, 0, :, :16] = 1
    return images


def test_no_strength_changes_nothing() -> None:
    images = halves(2)
    assert distorted(images, 0.0, numbers()) is images


@pytest.mark.parametrize("strength", STRENGTHS)
def test_every_picture_is_changed_in_its_own_way_and_the_same_way_again(strength: float) -> None:
    images = halves(8)
    made = distorted(images, strength, numbers())
    assert torch.equal(made, distorted(images, strength, numbers()))
    assert not torch.equal(made, distorted(images, strength, numbers(1)))
    assert len({tuple(picture.flatten().tolist()) for picture in made}) == len(images)
    assert torch.equal(images, halves(8))
    assert made.shape == images.shape


@pytest.mark.parametrize("strength", STRENGTHS)
def test_nothing_is_mirrored_and_what_is_left_stays_left(strength: float) -> None:
    light = distorted(halves(), strength, numbers())[:, 0].mean(1)  # [B, W]
    assert (light[:, :16].mean(1) > light[:, 16:].mean(1)).float().mean() > 0.95


@pytest.mark.parametrize("strength", STRENGTHS)
def test_red_stays_red_or_turns_grey(strength: float) -> None:
    left = distorted(halves(), strength, numbers())[..., 4:12].mean((2, 3))  # [B, 3]
    assert (left[:, 0] > left[:, 1:].amax(1) - 0.05).float().mean() > 0.9
    assert (left[:, 0] > left[:, 1:].amax(1) + 0.2).float().mean() > 0.7


def test_more_strength_changes_more() -> None:
    images = halves()
    weak, strong = ((distorted(images, s, numbers()) - images).abs().mean() for s in STRENGTHS)
    assert 0 < weak < strong
