"""Writes an HQ checkpoint with seeded random weights in the official layout, of any size."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from models.configs.hq import HQTransformerConfig, HQVAEConfig
from models.configs.preset import Preset
from models.families import build_codec, build_prior, upstream_shapes
from models.files.hq_codecs import write_hq_vae
from models.files.hq_prior import write_hq_transformer
from models.files.weights import on_meta, shapes
from models.presets.register import get_preset
from tests.models.golden import GOLDEN
from tests.models.random_values import spread_values


def hq_shapes(preset: Preset) -> tuple[HQVAEConfig, HQTransformerConfig]:
    """An HQ preset's configs, as what they are."""
    assert isinstance(preset.stage1, HQVAEConfig)
    assert isinstance(preset.stage2, HQTransformerConfig)
    return preset.stage1, preset.stage2


def tiny_text() -> Preset:
    """The tiny text model with a vocabulary for the tokenizer of the recorded sets."""
    preset = get_preset("tiny-hq")
    return replace(preset, stage2=replace(hq_shapes(preset)[1], vocab_size_txt=320))


def official_state(preset: Preset, seed: int = 0) -> dict[str, Tensor]:
    """All of the official file's tensors, those that nothing reads as well."""
    config1, config2 = hq_shapes(preset)
    codec = on_meta(lambda: build_codec(config1))
    prior = on_meta(lambda: build_prior(config2, codec))
    rng = torch.Generator().manual_seed(seed)
    stage1 = spread_values(upstream_shapes(config1, shapes(codec)), rng)
    if config1.ema_update:
        books = [key for key in stage1 if key.startswith("quantize") and key.endswith("embedding")]
        for key in books:
            stage1[key.replace("embedding", "embedding_avg")] = stage1[key].clone()
            stage1[key.replace("embedding", "cluster_size")] = torch.ones(len(stage1[key]))
    stage2 = spread_values(upstream_shapes(config2, shapes(prior)), rng)
    if config2.drawing == "parallel":
        stage2["tok_emb_bot_depth.weight"] = torch.ones(config2.sizes[1], config2.embed_dim)
    parts = {"stage1": stage1, "stage2": stage2}
    return {f"{part}.{key}": value for part, state in parts.items() for key, value in state.items()}


def write_random_hq_checkpoint(folder: Path, preset: Preset, seed: int = 0) -> None:
    """Write config.yaml, ckpt/last.ckpt and, for text models, a small tokenizer."""
    config1, config2 = hq_shapes(preset)
    dataset: dict[str, Any] = {"dataset": "cc15m", "image_resolution": preset.size[0]}
    if config2.prefix == "text":
        dataset |= {"tokenizer_type": "bpe16k_huggingface", "context_length": config2.ctx_len_txt}
        shutil.copytree(GOLDEN / "rq_text" / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    document = {
        "dataset": dataset,
        "stage1": write_hq_vae(config1),
        "stage2": write_hq_transformer(config2),
        "optimizer": {"opt_type": "adamW", "warmup": {"buffer_epoch": 1}},
    }
    (folder / "ckpt").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    content = {"epoch": 3, "global_step": 9, "state_dict": official_state(preset, seed)}
    torch.save(content, folder / "ckpt" / "last.ckpt")
