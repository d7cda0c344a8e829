from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.measure.networks import ClipNetwork
from models.measure.tables.reconstruction import CodeUse, reconstruction
from tests.models.measure.brightness import scorer


class Halves:
    """A codec of a picture's left half's mean and right half's mean, in 10 steps, two depths."""

    code_shape = (1, 2)

    def encode(self, pixels: Tensor) -> Tensor:
        left, right = pixels.mean((1, 2)).chunk(2, -1)
        return torch.stack([left.mean(-1), right.mean(-1)], -1)[:, None].mul(10).round().long()

    def pixels(self, codes: Tensor) -> Tensor:
        halves = codes[:, 0].float() / 10
        return halves.repeat_interleave(8, 1)[:, None, None].expand(-1, 3, 16, 16)

    def prepare(self) -> None:
        """Nothing."""


def test_what_a_codec_keeps_is_exact_and_what_it_loses_is_counted() -> None:
    codec = Halves()
    whole = codec.pixels(torch.tensor([[[1, 4]], [[3, 4]], [[9, 9]]]))
    exact = reconstruction(codec, [whole[:2], whole[2:]], ClipNetwork(scorer(), "brightness"))
    assert exact["pictures"] == 3
    assert exact["SSIM"] == pytest.approx(1.0)
    assert exact["rFID"] == pytest.approx(0.0, abs=1e-9)
    assert exact["codes in use"] == "3 + 2"
    off = reconstruction(codec, [whole + 0.04], None)
    assert off["PSNR, dB"] == pytest.approx(27.96, abs=0.01)  # 0.04 everywhere
    assert off["rFID"] is None


def test_perplexity_is_the_number_of_codes_in_even_use() -> None:
    use = CodeUse()
    for codes in ([0, 5], [5, 0], [9, 9]):
        use.add(torch.tensor(codes))
    assert use.num == 3
    assert use.perplexity == pytest.approx(3.0)
