"""The pixel families' published shapes and small random ones, as data. Knows no torch.

Nobody has published weights of these in a form that is still read; the shapes are the papers' (van
den Oord et al. 2016, Salimans et al. 2017, Parmar et al. 2018), for checkpoints of one's own.
"""

from __future__ import annotations

from dataclasses import replace

from models.configs.pixels import (
    GatedPixelCNNConfig,
    ImageTransformerConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelPriorConfig,
    codec_for,
)
from models.configs.preset import Preset, SamplingDefaults
from models.presets.random import random_preset

_SAMPLING = SamplingDefaults(top_k=None, num_candidates=4)


def _published(name: str, description: str, stage2: PixelPriorConfig) -> Preset:
    return Preset(name, description, "unknown", codec_for(stage2), stage2, sampling=_SAMPLING)


def _tiny(name: str, what: str, stage2: PixelPriorConfig) -> Preset:
    return replace(random_preset(name, what, codec_for(stage2), stage2), sampling=_SAMPLING)


PIXEL_PRESETS = (
    _published("pixelcnn", "PixelCNN: 32×32 pixels without a prompt", PixelCNNConfig()),
    _published(
        "gated-pixelcnn",
        "The gated PixelCNN: one of 10 classes to 32×32 pixels",
        GatedPixelCNNConfig(),
    ),
    _published("pixelcnn++", "PixelCNN++: 32×32 pixels without a prompt", PixelCNNPPConfig()),
    _published(
        "image-transformer",
        "Image Transformer: 32×32 pixels without a prompt, a channel at a time",
        ImageTransformerConfig(),
    ),
    _published(
        "image-transformer-dmol",
        "Image Transformer: 32×32 pixels without a prompt, a mixture for each",
        ImageTransformerConfig(
            distr="mixture",
            hidden_size=256,
            num_heads=8,
            filter_size=512,
            total_key_depth=512,
            total_value_depth=512,
        ),
    ),
    _tiny(
        "tiny-pixelcnn",
        "PixelCNN over 8 levels a channel",
        PixelCNNConfig(
            8, 8, levels=8, filters=6, num_blocks=2, output_filters=12, kernel_size_in=5
        ),
    ),
    _tiny(
        "tiny-gated-pixelcnn",
        "the gated PixelCNN, class prefix",
        GatedPixelCNNConfig(
            6, 8, hidden_fmaps=6, hidden_layers=2, out_hidden_fmaps=9, hidden_ksize=5
        ),
    ),
    _tiny(
        "tiny-pixelcnn++",
        "PixelCNN++, class prefix",
        PixelCNNPPConfig(8, 8, nr_resnet=1, nr_filters=6, nr_logistic_mix=3, n_classes=5),
    ),
    _tiny(
        "tiny-pixelcnn++-gray",
        "PixelCNN++, one channel, two scales",
        PixelCNNPPConfig(6, 8, 1, nr_resnet=1, nr_filters=5, nr_logistic_mix=2, scales=2),
    ),
    _tiny(
        "tiny-image-transformer",
        "Image Transformer, a channel a step, 1-D blocks",
        ImageTransformerConfig(
            5, 5, block_length=8, hidden_size=16, nlayers=2, num_heads=2, filter_size=24
        ),
    ),
    _tiny(
        "tiny-image-transformer-2d",
        "Image Transformer, class prefix, mixtures, 2-D blocks",
        ImageTransformerConfig(
            6,
            8,
            distr="mixture",
            attn_type="local_2d",
            query_shape=(2, 4),
            memory_flange=(2, 2),
            hidden_size=16,
            nlayers=2,
            num_heads=2,
            filter_size=24,
            total_key_depth=8,
            total_value_depth=12,
            num_mixtures=2,
            n_classes=4,
        ),
    ),
)
