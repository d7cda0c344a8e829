"""minDALL-E's own classes behind the seams that hide them, for tests of what is inside."""

from __future__ import annotations

from pathlib import Path

import torch

from models.configs.preset import Preset
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.files.checkpoint import load_stage1, load_stage2, open_checkpoint
from models.pipeline import Pipeline
from models.presets.register import get_preset
from models.stage1.vqgan import VQGAN
from models.stage2.transformer import Transformer


def shape(preset: Preset | str) -> TransformerConfig:
    """The transformer's shape of a preset."""
    stage2 = (get_preset(preset) if isinstance(preset, str) else preset).stage2
    assert isinstance(stage2, TransformerConfig)
    return stage2


def codec_shape(preset: Preset | str) -> VQGANConfig:
    """The codec's shape of a preset."""
    stage1 = (get_preset(preset) if isinstance(preset, str) else preset).stage1
    assert isinstance(stage1, VQGANConfig)
    return stage1


def transformer(pipeline: Pipeline) -> Transformer:
    """A pipeline's stage 2."""
    assert isinstance(pipeline.stage2, Transformer)
    return pipeline.stage2


def load_vqgan(folder: Path) -> VQGAN:
    """A checkpoint's stage 1."""
    stage1 = load_stage1(open_checkpoint(folder))
    assert isinstance(stage1, VQGAN)
    return stage1


def load_transformer(folder: Path, dtype: torch.dtype = torch.float32) -> Transformer:
    """A checkpoint's stage 2."""
    stage2 = load_stage2(open_checkpoint(folder), dtype=dtype)
    assert isinstance(stage2, Transformer)
    return stage2
