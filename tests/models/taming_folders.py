"""Folders as taming-transformers leaves them, with seeded random weights of any preset's shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from models.configs.codec import CodecConfig
from models.configs.preset import Preset
from models.configs.prior import PriorConfig
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.families import build_codec, build_prior, upstream_shapes
from models.files.weights import on_meta, shapes
from models.stage1.orders import raster_places
from tests.models.mindalle import codec_shape, shape

STAMP = "2021-04-03T19-39-50"
WEIGHTS = "checkpoints/last.ckpt"


def write_project(folder: Path, preset: Preset, beside: dict[str, Any] | None = None) -> None:
    """Both stages; `beside` stands in the file next to the weights."""
    stage1, stage2 = codec_shape(preset), shape(preset)
    codec = on_meta(lambda: build_codec(stage1))
    prior = on_meta(lambda: build_prior(stage2, codec))
    state = _random(stage1, shapes(codec), "first_stage_model.")
    state |= _random(stage2, shapes(prior), "transformer.")
    for layer in range(stage2.n_layers):
        size = stage2.block_size
        state[f"transformer.blocks.{layer}.attn.mask"] = torch.ones(1, 1, size, size).tril()
    state["first_stage_model.loss.discriminator.main.3.num_batches_tracked"] = torch.tensor(7)
    places = raster_places(stage1.order, stage1.grid_size)
    state["permuter.forward_shuffle_idx"] = torch.tensor(places)
    _write(folder, f"{STAMP}-project.yaml", {"model": _model(stage1, stage2)}, state, beside)
    (folder / f"configs/{STAMP}-lightning.yaml").write_text("trainer: {gpus: 0}\n")


def write_codec(folder: Path, preset: Preset) -> None:
    """Stage 1 alone."""
    stage1 = codec_shape(preset)
    state = _random(stage1, shapes(on_meta(lambda: build_codec(stage1))), "")
    state["loss.discriminator.main.3.num_batches_tracked"] = torch.tensor(7)
    state["loss.perceptual_loss.lin0.model.1.weight"] = torch.ones(1, 8, 1, 1)
    _write(folder, "model.yaml", {"model": _codec(stage1)}, state)


def edit(folder: Path, change: Any) -> None:
    """Change the config of a project; Any: a function of its `model.params`."""
    (path,) = folder.glob("configs/*-project.yaml")
    document = yaml.safe_load(path.read_text())
    change(document["model"]["params"])
    path.write_text(yaml.safe_dump(document))


def _write(
    folder: Path,
    name: str,
    document: dict[str, Any],
    state: dict[str, Tensor],
    beside: dict[str, Any] | None = None,
) -> None:
    (folder / "configs").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "configs" / name).write_text(yaml.safe_dump(document | {"data": {"target": "x"}}))
    torch.save({"state_dict": state, "global_step": 9, **(beside or {})}, folder / WEIGHTS)


def _random(config: CodecConfig | PriorConfig, needed: Any, prefix: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(needed))
    names = upstream_shapes(config, needed).items()
    return {f"{prefix}{name}": torch.randn(size, generator=generator) * 0.2 for name, size in names}


def _model(stage1: VQGANConfig, stage2: TransformerConfig) -> dict[str, Any]:
    condition: Any = "__is_unconditional__"
    if stage2.prefix == "class":
        labels = {"n_classes": stage2.n_classes}
        condition = {"target": "taming.modules.util.Labelator", "params": labels}
    elif len(stage2.start) > 1:
        places = {"n_embed": 64, "down_factor": 8}
        condition = {"target": "taming.modules.misc.coord.CoordStage", "params": places}
    gpt: dict[str, Any] = {
        "vocab_size": stage2.vocab_size,
        "block_size": stage2.block_size,
        "n_layer": stage2.n_layers,
        "n_head": stage2.n_heads,
        "n_embd": stage2.embed_dim,
        "n_unmasked": stage2.n_unmasked,
    }
    params: dict[str, Any] = {
        "transformer_config": {"target": "taming.modules.transformer.mingpt.GPT", "params": gpt},
        "first_stage_config": _codec(stage1),
        "cond_stage_config": condition,
        "pkeep": 0.9,
    }
    if stage1.order == "alternate":
        sides = {"H": stage1.grid_size, "W": stage1.grid_size}
        name = "taming.modules.transformer.permuter.AlternateParsing"
        params["permuter_config"] = {"target": name, "params": sides}
    return {"target": "taming.models.cond_transformer.Net2NetTransformer", "params": params}


def _codec(config: VQGANConfig) -> dict[str, Any]:
    names = ("z_channels", "resolution", "in_channels", "out_ch", "ch", "num_res_blocks")
    ddconfig: dict[str, Any] = {name: getattr(config, name) for name in names}
    ddconfig |= {"ch_mult": [*config.ch_mult], "attn_resolutions": [*config.attn_resolutions]}
    ddconfig |= {"double_z": False, "dropout": 0.0, "resamp_with_conv": config.resamp_with_conv}
    ddconfig |= {"use_timestep": False}  # a key that the reference lets pass
    params: dict[str, Any] = {
        "embed_dim": config.embed_dim,
        "n_embed": config.n_embed,
        "ddconfig": ddconfig,
    }
    params |= {"ckpt_path": "logs/elsewhere/last.ckpt", "lossconfig": {"target": "x"}}
    kind = "GumbelVQ" if config.quantizer == "gumbel" else "VQModel"
    return {"target": f"taming.models.vqgan.{kind}", "params": params}
