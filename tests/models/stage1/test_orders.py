from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from models.configs.vqgan import CodeOrder
from models.stage1.orders import allowed_sides, raster_places
from models.stage1.vqgan import VQGAN
from tests.models.mindalle import codec_shape

# As the reference has them.
_OF_FOUR: dict[CodeOrder, str] = {
    "raster": "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
    "subsample": "0 2 8 10 1 3 9 11 4 6 12 14 5 7 13 15",
    "zcurve": "0 1 4 5 2 3 6 7 8 9 12 13 10 11 14 15",
    "spiral-out": "9 5 6 10 14 13 12 8 4 0 1 2 3 7 11 15",
    "spiral-in": "15 11 7 3 2 1 0 4 8 12 13 14 10 6 5 9",
    "random": "3 13 7 2 6 10 4 1 14 0 15 9 8 12 11 5",
    "alternate": "0 1 2 3 7 6 5 4 8 9 10 11 15 14 13 12",
}


@pytest.mark.parametrize("order", get_args(CodeOrder))
def test_every_order_holds_each_place_once(order: CodeOrder) -> None:
    assert raster_places(order, 4) == [int(place) for place in _OF_FOUR[order].split()]
    for side in allowed_sides(order, 9):
        assert sorted(raster_places(order, side)) == list(range(side**2))


def test_a_side_that_an_order_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="no zcurve order of 6×6"):
        raster_places("zcurve", 6)


@pytest.mark.parametrize("order", get_args(CodeOrder))
def test_codes_come_in_the_order_and_go_back_to_their_places(order: CodeOrder) -> None:
    torch.manual_seed(0)
    raster = VQGAN(codec_shape("tiny")).eval().requires_grad_(False)
    ordered = VQGAN(replace(codec_shape("tiny"), order=order)).eval().requires_grad_(False)
    ordered.load_state_dict(raster.state_dict())
    pixels = torch.rand(2, 3, 32, 32)
    codes = raster.encode(pixels)
    assert torch.equal(ordered.encode(pixels), codes[:, raster_places(order, 4)])
    assert torch.equal(ordered.pixels(ordered.encode(pixels)), raster.pixels(codes))
