"""Writes a checkpoint with seeded random weights in the official layout, of any size.

`python -m tests.models.random_checkpoint FOLDER` makes one of the full 1.3B (5.5 GB on disk, the
same in memory while it is written), for trying conversion and loading without the real weights.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from models.configs.preset import Preset
from models.configs.transformer import TransformerConfig
from models.errors import Shape
from models.families import build_codec, build_prior, upstream_shapes
from models.files import config
from models.files.places import STAGE_FILES
from models.files.weights import on_meta, shapes
from models.lookalikes import CONFIG_NAME
from models.presets.register import get_preset
from tests.models.golden import GOLDEN


def tiny_with_words() -> Preset:
    """The preset `tiny` with room for all words of the tokenizer that is written beside it."""
    preset = get_preset("tiny")
    assert isinstance(preset.stage2, TransformerConfig)
    return replace(preset, stage2=replace(preset.stage2, vocab_size_txt=320))


def write_random_checkpoint(folder: Path, preset: Preset, seed: int = 0) -> None:
    """Write config.yaml, both .ckpt files and, for text models, a small tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(yaml.safe_dump(_official_document(preset)))
    stage1 = on_meta(lambda: build_codec(preset.stage1))
    stage2 = on_meta(lambda: build_prior(preset.stage2, stage1))
    generator = torch.Generator().manual_seed(seed)
    states: dict[str, Mapping[str, Shape]] = {
        STAGE_FILES["stage1"]: shapes(stage1),
        STAGE_FILES["stage2"]: upstream_shapes(preset.stage2, shapes(stage2)),
    }
    for name, needed in states.items():
        state = {key: _values(key, shape, generator) for key, shape in needed.items()}
        torch.save({"epoch": 0, "state_dict": state}, folder / name)
    if preset.prompt_kind == "text":
        source = GOLDEN / "mindalle_text" / "tokenizer"
        shutil.copytree(source, folder / "tokenizer", dirs_exist_ok=True)


def _official_document(preset: Preset) -> dict[str, Any]:
    """The preset's config.yaml without the keys that only we have."""
    document = config.document(preset)
    for key in ("name", "description", "licence", "sampling", "clip"):
        document.pop(key, None)
    for key in ("patch_size", "norm_groups"):
        document["stage1"]["hparams"].pop(key)
    return document


def _values(key: str, shape: Shape, generator: torch.Generator) -> Tensor:
    """Spread values that keep activations near 1: gains around 1, weights by their width."""
    values = torch.empty(shape).normal_(generator=generator)
    is_gain = len(shape) == 1 and key.endswith("weight")
    if is_gain:
        return values.mul_(0.1).add_(1)
    if len(shape) == 1:
        return values.mul_(0.1)
    is_table = "emb" in key or key.startswith("sos")
    return values.mul_(0.04 if is_table else values[0].numel() ** -0.5)


if __name__ == "__main__":
    write_random_checkpoint(Path(sys.argv[1]), get_preset("mindalle-1.3b"))
