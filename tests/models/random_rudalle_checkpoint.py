"""Writes a ru-DALL-E with seeded random weights in the official files, of any size.

`python -m tests.models.random_rudalle_checkpoint FOLDER` makes a Malevich (5.2 GB on disk).
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from models.configs.dalle import DalleConfig, ru_dalle_masks
from models.configs.preset import Preset
from models.configs.vqgan import VQGANConfig
from models.errors import Shape
from models.families import build_codec, build_prior, upstream_shapes
from models.files.weights import on_meta, shapes
from models.presets.register import get_preset
from models.tokenizer import YTTM_FILE

_BPE = Path(__file__).parents[1] / "data" / "yttm" / YTTM_FILE
_NUM_TOKENS = 120  # of that file
CODEC_FILE, CODEC_CONFIG = "vqgan.gumbelf8-sber.model.ckpt", "vqgan.gumbelf8-sber.config.yml"


def small_malevich(layers: int = 24, side: int = 32, text: int = 128) -> Preset:
    """Malevich's structure with everything narrow, and the vocabulary of the BPE file here."""
    stage2 = DalleConfig(
        embed_dim=32,
        n_layers=layers,
        n_heads=2,
        vocab_size_txt=_NUM_TOKENS + text,
        ctx_len_txt=text,
        vocab_size_img=64,
        grid=(side, side),
        masks=ru_dalle_masks(layers),
    )
    stage1 = VQGANConfig(
        n_embed=64,
        embed_dim=32,
        z_channels=32,
        resolution=8 * side,
        ch=32,
        ch_mult=(1, 1, 1, 2),
        num_res_blocks=1,
        attn_resolutions=(side,),
        quantizer="gumbel",
    )
    return replace(get_preset("rudalle-malevich"), stage1=stage1, stage2=stage2)


def write_random_rudalle(
    folder: Path, preset: Preset, *, name: str = "pytorch_model.bin", **own: object
) -> None:
    """Write config.json, with keys of one's `own`, and the other files beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    stage1, stage2 = preset.stage1, preset.stage2
    assert isinstance(stage1, VQGANConfig)
    assert isinstance(stage2, DalleConfig)
    codec = on_meta(lambda: build_codec(stage1))
    prior = on_meta(lambda: build_prior(stage2, codec))
    generator = torch.Generator().manual_seed(0)
    (folder / "config.json").write_text(json.dumps(_document(stage2) | own))
    state = _values(upstream_shapes(stage2, shapes(prior)), generator)
    state["transformer.row_mask"] = torch.ones(3, 3, dtype=torch.bool)
    torch.save(state, folder / name)
    codec_state = _values(upstream_shapes(stage1, shapes(codec)), generator)
    codec_state["loss.discriminator.weight"] = torch.zeros(2)
    torch.save({"state_dict": codec_state}, folder / CODEC_FILE)
    (folder / CODEC_CONFIG).write_text(yaml.safe_dump(_codec_document(stage1)))
    shutil.copyfile(_BPE, folder / YTTM_FILE)


def _document(config: DalleConfig) -> dict[str, object]:
    return {
        "num_layers": config.n_layers,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.n_heads,
        "text_seq_length": config.ctx_len_txt,
        "image_tokens_per_dim": config.grid[0],
        "vocab_size": config.vocab_size_txt,
        "image_vocab_size": config.vocab_size_img,
        "conv_kernel": config.conv_kernel,
        "cogview_sandwich_layernorm": config.sandwich_norms,
        "cogview_pb_relax": True,
        "embedding_dropout_prob": 0.1,
    }


def _codec_document(config: VQGANConfig) -> dict[str, Any]:
    """As the file in ru-DALL-E's package."""
    ddconfig = {
        "double_z": False,
        "z_channels": config.z_channels,
        "resolution": config.resolution,
        "in_channels": 3,
        "out_ch": 3,
        "ch": config.ch,
        "ch_mult": list(config.ch_mult),
        "num_res_blocks": config.num_res_blocks,
        "attn_resolutions": list(config.attn_resolutions),
        "dropout": 0.0,
    }
    params = {
        "kl_weight": 1e-8,
        "embed_dim": config.embed_dim,
        "n_embed": config.n_embed,
        "monitor": "val/rec_loss",
        "ddconfig": ddconfig,
        "lossconfig": {"target": "taming.modules.losses.vqperceptual.DummyLoss"},
    }
    return {"model": {"target": "taming.models.vqgan.GumbelVQ", "params": params}}


def _values(needed: dict[str, Shape], generator: torch.Generator) -> dict[str, Tensor]:
    """Spread values that keep activations near 1: gains around 1, weights by their width."""
    state = {}
    for key, shape in needed.items():
        values = torch.empty(shape).normal_(generator=generator)
        if len(shape) == 1:
            values.mul_(0.1).add_(1 if key.endswith("weight") else 0)
        else:
            values.mul_(0.3 if "embed" in key else values[0].numel() ** -0.5)
        state[key] = values
    return state


if __name__ == "__main__":
    write_random_rudalle(Path(sys.argv[1]), get_preset("rudalle-malevich"))
