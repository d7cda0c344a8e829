"""Small pixel priors with spread random weights in float64, to compare ways of computing them."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from models.configs.pixels import (
    GatedPixelCNNConfig,
    ImageTransformerConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelPriorConfig,
    codec_for,
)
from models.families import build_codec, build_prior
from models.stage1.raw_pixels import RawPixels
from models.stage2.prior import Draw, Prior


class PixelPrior(Prior, Protocol):
    """What every one of them has beside a prior's own."""

    def log_likelihood(self, values: Tensor, classes: Tensor | None = None) -> Tensor: ...

    def redraw(self, codes: Tensor, classes: Tensor | None, place: int, draw: Draw) -> Tensor: ...


def transformer(attn_type: str, distr: str, size: tuple[int, int] = (4, 5)) -> PixelPriorConfig:
    """Odd widths, blocks that don't divide the grid."""
    return ImageTransformerConfig(
        *size,
        distr=distr,  # type: ignore[arg-type]  # a literal's value, from a parameter
        attn_type=attn_type,  # type: ignore[arg-type]  # the same
        block_length=7,
        query_shape=(2, 3),
        memory_flange=(1, 2),
        hidden_size=12,
        nlayers=2,
        num_heads=2,
        filter_size=16,
        total_key_depth=8,
        total_value_depth=10,
        num_mixtures=2,
        n_classes=3 if attn_type == "local_1d" else 0,
    )


CONFIGS: dict[str, PixelPriorConfig] = {
    "pixel-cnn": PixelCNNConfig(5, 4, levels=6, filters=7, num_blocks=2, output_filters=10),
    "pixel-cnn gray": PixelCNNConfig(
        4,
        5,
        1,
        levels=6,
        filters=4,
        num_blocks=2,
        output_filters=5,
        kernel_size=5,
        kernel_size_in=5,
    ),
    "pixel-cnn of single cells": PixelCNNConfig(
        4, 4, levels=5, filters=4, num_blocks=1, output_filters=5, kernel_size=1, kernel_size_in=3
    ),
    "gated of single cells": GatedPixelCNNConfig(
        4, 4, color_levels=5, hidden_fmaps=6, hidden_layers=1, out_hidden_fmaps=5, hidden_ksize=1
    ),
    "gated": GatedPixelCNNConfig(
        6, 4, color_levels=6, hidden_fmaps=6, hidden_layers=2, out_hidden_fmaps=7, hidden_ksize=5
    ),
    "gated gray": GatedPixelCNNConfig(
        5, 4, 1, color_levels=6, hidden_fmaps=4, hidden_layers=2, causal_ksize=3, hidden_ksize=3
    ),
    "pp": PixelCNNPPConfig(8, 4, nr_resnet=1, nr_filters=5, nr_logistic_mix=2, n_classes=4),
    "pp two blocks": PixelCNNPPConfig(4, 8, 1, nr_resnet=2, nr_filters=4, nr_logistic_mix=3),
    "pp one scale": PixelCNNPPConfig(3, 5, nr_resnet=2, nr_filters=4, nr_logistic_mix=2, scales=1),
    **{
        f"transformer {attn} {distr}": transformer(attn, distr)
        for attn in ("global", "local_1d", "local_2d")
        for distr in ("categorical", "mixture")
    },
}


def built(config: PixelPriorConfig, seed: int = 0) -> nn.Module:
    """In float64, its weights spread so that everything counts."""
    torch.manual_seed(seed)
    module = build_prior(config, nn.Identity()).double().eval().requires_grad_(False)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


def prior_of(module: nn.Module) -> PixelPrior:
    """The same as what it is."""
    return cast(PixelPrior, module)


def classes_of(config: PixelPriorConfig, count: int) -> Tensor | None:
    """Some classes [count]; None for a model without."""
    if not config.num_classes:
        return None
    return torch.arange(count) % config.num_classes


def pictures(config: PixelPriorConfig, count: int) -> Tensor:
    """Random levels [count, C, H, W]."""
    generator = torch.Generator().manual_seed(1)
    channels = getattr(config, "input_channels", 0) or getattr(config, "channels", 3)
    shape = (count, channels, config.height, config.width)
    return torch.randint(max(config.vocab_sizes), shape, generator=generator)


def codec_of(config: PixelPriorConfig) -> RawPixels:
    """The codec whose codes such a prior draws."""
    return cast(RawPixels, build_codec(codec_for(config)))
