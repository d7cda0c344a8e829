from __future__ import annotations

import pytest
import torch

from models.configs.raw_pixels import RawPixelsConfig
from models.stage1.raw_pixels import RawPixels


@pytest.mark.parametrize("config", [RawPixelsConfig(3, 5), RawPixelsConfig(4, 6, 1, 8)])
def test_raw_pixels_are_given_back(config: RawPixelsConfig) -> None:
    codec = RawPixels(config)
    codes = torch.randint(config.num_levels, (2, *config.code_shape))
    pixels = codec.pixels(codes)
    assert pixels.shape == (2, 3, config.height, config.width)
    assert torch.equal(codec.encode(pixels), codes)


def test_pixels_in_blocks_and_by_channel() -> None:
    config = RawPixelsConfig(3, 4, by_channel=True, block=(2, 6))
    codec = RawPixels(config)
    assert codec.order.tolist()[:14] == [*range(6), *range(12, 18), 6, 7]
    codes = torch.arange(36).view(1, 36, 1)
    assert torch.equal(codec.encode(codec.pixels(codes)), codes)


def test_fewer_depths_are_a_gray_picture_of_the_first() -> None:
    codec = RawPixels(RawPixelsConfig(2, 2))
    pixels = codec.pixels(torch.tensor([[[0], [51], [102], [255]]]))
    assert torch.equal(pixels[0, 0], pixels[0, 2])
    assert pixels[0, 0].flatten().tolist() == pytest.approx([0, 0.2, 0.4, 1])
