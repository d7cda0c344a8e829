"""What an enhancement is worth, on pictures that training didn't see: the numbers to accept it by.

Sharpness is not among them: noise is sharp, too. Draws as the pipeline does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.enhancement import Enhancement
from models.drawing.sampling import RowParams
from models.enhance.cell_upsampler import CellUpsampler
from models.enhancer import Enhancer
from models.stage1.codec import Codec
from models.train.recipes.codec import BATCH, entropy, psnr
from models.train.recipes.enhance import SCALE


@torch.no_grad()
def judge(
    model: CellUpsampler, codec: Codec, images: Tensor, enhancement: Enhancement
) -> tuple[dict[str, float], Tensor]:
    """Numbers of images [N, 3, H, W] in [-1, 1]; and coarse, true and drawn pictures [3, N, ...].

    `psnr_*` in dB: of the coarse picture, with the true finer codes, with drawn ones; and of the
    drawn, scaled down, to the coarse one (`consistency`). `nll` in nats a finer code, `nll_swapped`
    the same over another picture's coarse codes, `entropy` what the codes' frequencies alone need.
    """
    enhancer = Enhancer(enhancement, model, codec, BATCH)
    parts = [_of_batch(model, codec, enhancer, part) for part in torch.split(images, BATCH)]
    coarse_codes, finer_codes, coarse, true, drawn = (
        torch.cat(column) for column in zip(*parts, strict=True)
    )
    down = F.avg_pool2d(drawn, SCALE), F.avg_pool2d(coarse, SCALE)
    values = {
        "psnr_coarse": psnr(coarse, images),
        "psnr_true": psnr(true, images),
        "psnr_drawn": psnr(drawn, images),
        "consistency": psnr(*down),
        "nll": _nll(model, coarse_codes, finer_codes),
        "nll_swapped": _nll(model, coarse_codes.roll(1, 0), finer_codes),
        "entropy": entropy(torch.bincount(finer_codes.flatten())),
        "codes": float(torch.unique(finer_codes).numel()),
    }
    return values, torch.stack((coarse, true, drawn))


def _of_batch(
    model: CellUpsampler, codec: Codec, enhancer: Enhancer, images: Tensor
) -> Sequence[Tensor]:
    """Coarse and finer codes, and coarse, true and drawn pictures in [-1, 1]."""
    pixels = images * 0.5 + 0.5
    codes = codec.encode(pixels)
    coarse = codec.pixels(codes)
    finer = model.encode(pixels, coarse)
    rows = [RowParams(0, candidate) for candidate in range(len(images))]
    made = (coarse, model.pixels(finer, coarse), enhancer.pixels(codes, rows))
    return codes, finer, *(one * 2 - 1 for one in made)


def _nll(model: CellUpsampler, coarse: Tensor, finer: Tensor) -> float:
    parts = zip(torch.split(coarse, BATCH), torch.split(finer, BATCH), strict=True)
    total = sum(float(model.prior.loss(codes, own)) * len(own) for codes, own in parts)
    return total / len(finer)
