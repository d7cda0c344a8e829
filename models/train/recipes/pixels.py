"""How the priors over pixels learn: the likelihood of whole pictures, in bits per dimension.

Adam with a moving average of the weights, as PixelCNN++'s authors have it; the others' numbers are
of the same kind. Knows pictures as levels and classes as ids, and none of the data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.configs.pixels import (
    GatedPixelCNNConfig,
    ImageTransformerConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelPriorConfig,
)
from models.stage2.dmol import bits_per_dimension
from models.train.loop.schedule import Schedule
from models.train.recipes.prior import Examples, PriorPlan

# What is trained where nothing else says so: sizes for a few hours of a CPU, not the papers'.
SHAPES: dict[str, PixelPriorConfig] = {
    "pixel-cnn": PixelCNNConfig(filters=32, num_blocks=6, output_filters=128),
    "gated-pixel-cnn": GatedPixelCNNConfig(hidden_fmaps=48, hidden_layers=5, out_hidden_fmaps=96),
    "pixel-cnn-pp": PixelCNNPPConfig(nr_resnet=2, nr_filters=48, nr_logistic_mix=5),
    "image-transformer": ImageTransformerConfig(
        distr="mixture", hidden_size=128, nlayers=6, filter_size=256, num_mixtures=5
    ),
}


def plan_of(config: PixelPriorConfig, steps: int) -> PriorPlan:
    """A transformer learns more slowly and with the usual second moment."""
    plan = PriorPlan(
        Schedule(steps, warm_up=min(100, 1 + steps // 15)),
        muon_lr=None,
        adam_lr=1e-3,
        betas=(0.95, 0.9995),
        clip_norm=1.0,
        average=0.9995,
    )
    if isinstance(config, ImageTransformerConfig):
        return replace(plan, adam_lr=5e-4, betas=(0.9, 0.98))
    return plan


def initialise(model: nn.Module, seed: int) -> None:
    """Fresh weights that depend on the seed alone; norms, gains and biases as they are built."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or name.endswith("weight_g"):
            continue
        fan_in = parameter.shape[1] if "embed" in name else parameter[0].numel()
        nn.init.normal_(parameter, std=fan_in**-0.5, generator=generator)


def bits(model: nn.Module, values: Tensor, classes: Tensor | None) -> Tensor:
    """Mean bits per dimension of pictures' levels [B, C, H, W]."""
    # Any: each family's module has a likelihood of its own, of pixels or of sub-pixels.
    nats: Tensor = -cast(Any, model).log_likelihood(values, classes).sum()
    return nats * bits_per_dimension(1.0, values.numel())


def loss(
    model: nn.Module, _codec: object, batch: Examples, _plan: PriorPlan, _rng: torch.Generator
) -> Tensor:
    """See PriorLoss: codes are levels [B, C, H, W], the prefix is classes [B, 1] or empty."""
    return bits(model, batch.codes, batch.prefix[:, 0] if batch.prefix.shape[1] else None)
