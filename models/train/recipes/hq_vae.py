"""The recipe of the HQ family's codec: a pyramid of grids, each with its own codes.

Knows nothing of text.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from models.configs.hq import HQVAEConfig
from models.presets.register import get_preset
from models.stage1.hq_vae import HQVAE
from models.train.loop.run import Run
from models.train.recipes import vqgan
from models.train.recipes.codec import CodecPlan
from models.train.recipes.grid_codes import GridCodes, Grids

# 8×8 and 16×16 codes of 128 pixels. Without norms and attention what stands in one place hardly
# changes the codes of another, which is noise to stage 2; and it learns faster: after 600 steps of
# 8 pictures at ch 32, 26.4 dB on single things (GroupNorm 25.5, with attention as well 25.4) and
# 86 % of the finer codes beside a changed thing kept (63 and 64 %).
SHAPE = cast(HQVAEConfig, get_preset("emoji-hq").stage1)


def features_of(shape: HQVAEConfig) -> tuple[int, int, int]:
    """The extent (C, h, w) of its features."""
    return shape.embed_dim, shape.grid_size, shape.grid_size


def plan_of(model: HQVAE, steps: int, is_fine_tuning: bool) -> CodecPlan:
    """As the VQGAN's, with a longer average."""
    return replace(vqgan.plan_of(model, steps, is_fine_tuning), average=0.998)


def codes_of(model: HQVAE, run: Run, plan: CodecPlan) -> GridCodes:
    """Its codebooks in training."""
    levels = range(len(model.config.n_embed))
    grids = Grids(
        books=tuple(model.quantizer(level).embedding.weight for level in levels),
        features=model.features,
        quantise=model.quantise,
        unquantised=partial(blurred, model),
        decode=model.decode_vectors,
    )
    return GridCodes(grids, run, plan, "codebooks")


def blurred(model: HQVAE, features: Tensor) -> list[Tensor]:
    """Vectors of each level as if nothing were quantised: a coarse level keeps only local means.

    With folding, a coarse level could hold the whole map, and the finer ones would learn nothing.
    """
    ratio = model.config.ratio
    levels, coarse = [], None
    for level, steps in enumerate(reversed(range(len(model.config.n_embed)))):
        smooth = features
        if steps:
            pooled = F.avg_pool2d(features, ratio**steps)
            smooth = F.interpolate(pooled, scale_factor=float(ratio**steps), mode="nearest")
        own = smooth
        for down in model.downsamples[:steps]:
            own = down(own)
        vectors = own if coarse is None else own - coarse
        levels.append(vectors)
        if level < len(model.upsamples):
            coarse = model.upsamples[level](vectors if coarse is None else coarse + vectors)
    return levels
