"""How much memory a preset's weights will take. Nothing is loaded."""

from __future__ import annotations

from torch import nn

from models.configs.preset import Preset
from models.families import build_codec, build_prior
from models.files.weights import on_meta
from models.load_options import LoadOptions

_FLOAT32_BYTES = 4


def num_weights(preset: Preset) -> int:
    """How many numbers stage 2 has."""
    return _num_numbers(on_meta(lambda: build_prior(preset.stage2, build_codec(preset.stage1))))


def weight_bytes(preset: Preset, options: LoadOptions) -> int:
    """What both stages will take, loaded like this. Rankers and upsamplers are not counted."""
    stage1 = on_meta(lambda: build_codec(preset.stage1))
    in_stage2 = num_weights(preset) * options.dtype.itemsize
    return in_stage2 + _num_numbers(stage1) * _FLOAT32_BYTES


def _num_numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
