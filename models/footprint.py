"""How much memory a preset's weights will take. Nothing is loaded."""

from __future__ import annotations

from torch import nn

from models.configs.preset import Preset
from models.families import build_codec, build_prior
from models.files.weights import on_meta
from models.load_options import LoadOptions
from models.stage2.quantize import bytes_saved


def prior_bytes(preset: Preset, options: LoadOptions) -> int:
    """What stage 2 will take, loaded like this."""
    prior = on_meta(lambda: build_prior(preset.stage2, build_codec(preset.stage1)))
    prior = prior.to(options.dtype)
    return _num_bytes(prior) - (bytes_saved(prior) if options.quantization == "int8" else 0)


def weight_bytes(preset: Preset, options: LoadOptions) -> int:
    """What both stages will take. Rankers and upsamplers are not counted."""
    stage1 = on_meta(lambda: build_codec(preset.stage1))
    return prior_bytes(preset, options) + _num_bytes(stage1)


def _num_bytes(module: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())
