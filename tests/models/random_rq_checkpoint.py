"""Writes an RQ checkpoint with seeded random weights in the official layout, of any size.

`python -m tests.models.random_rq_checkpoint FOLDER` makes the 650M text model (3.0 GB on disk).
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from models.configs.preset import Preset
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.families import build_codec, build_prior, upstream_shapes
from models.files.rq_config import write_rq_transformer, write_rq_vae
from models.files.weights import on_meta, shapes
from models.presets.register import get_preset
from tests.models.golden import GOLDEN
from tests.models.random_values import spread_values


def rq_shapes(preset: Preset) -> tuple[RQVAEConfig, RQTransformerConfig]:
    """An RQ preset's configs, as what they are."""
    assert isinstance(preset.stage1, RQVAEConfig)
    assert isinstance(preset.stage2, RQTransformerConfig)
    return preset.stage1, preset.stage2


def tiny_text() -> Preset:
    """The tiny text model with a vocabulary for the tokenizer of the recorded set."""
    preset = get_preset("tiny-rq")
    return replace(preset, stage2=replace(rq_shapes(preset)[1], vocab_size_cond=320))


def write_random_rq_checkpoint(
    folder: Path, preset: Preset, seed: int = 0, averaged: bool = False
) -> None:
    """Write both stages' config.yaml and model.pt and, for text models, a small tokenizer."""
    config1, config2 = rq_shapes(preset)
    codec: nn.Module = on_meta(lambda: build_codec(config1))
    prior: nn.Module = on_meta(lambda: build_prior(config2, codec))
    generator = torch.Generator().manual_seed(seed)
    state1 = spread_values(upstream_shapes(config1, shapes(codec)), generator)
    _add_moving_averages(state1, config1)
    state2 = spread_values(upstream_shapes(config2, shapes(prior)), generator)
    if "tok_emb.weight" in state2 and not config2.shared_tok_emb:
        begins = torch.tensor([0, *config2.vocab_sizes[:-1]]).cumsum(0)
        state2["tok_emb.offsets"] = begins
    text = {"txt_tok_name": "bpe16k_huggingface", "context_length": config2.block_size_cond}
    dataset = {"vocab_size": 1, **(text if config2.prefix == "text" else {})}
    _write(folder / "stage1", {"arch": write_rq_vae(config1)}, {"state_dict": state1})
    content: dict[str, Any] = {"state_dict": state2, "epoch": 3, "optimizer": {"state": {}}}
    if averaged:
        content["state_dict_ema"] = {name: 2 * tensor for name, tensor in state2.items()}
    second = {
        "dataset": dataset,
        "arch": write_rq_transformer(config2),
        "loss": {"temp": 0.5},
        "seed": 0,
    }
    _write(folder / "stage2", second, content)
    if config2.prefix == "text":
        source = GOLDEN / "rq_text" / "tokenizer"
        shutil.copytree(source, folder / "tokenizer", dirs_exist_ok=True)


def _write(folder: Path, document: dict[str, Any], content: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    torch.save(content, folder / "model.pt")


def _add_moving_averages(state: dict[str, Tensor], config: RQVAEConfig) -> None:
    """A shared codebook stands in the file once per depth; each has one row of padding."""
    for depth in range(len(config.n_embed)):
        name = f"quantizer.codebooks.{depth}"
        book = state.setdefault(f"{name}.weight", state["quantizer.codebooks.0.weight"])
        book[-1] = 0
        state[f"{name}.cluster_size_ema"] = torch.ones(len(book) - 1)
        state[f"{name}.embed_ema"] = book[:-1].clone()


if __name__ == "__main__":
    write_random_rq_checkpoint(Path(sys.argv[1]), get_preset("rq-cc3m-650m"))
