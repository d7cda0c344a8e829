"""What a run starts from: fresh weights of the emoji shape, or a checkpoint to fine-tune.

Knows no data and no losses.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from models.configs import Preset
from models.families import build_codec
from models.files import checkpoint as checkpoints
from models.presets import get_preset
from models.stage1.vqgan import VQGAN
from models.stage2.transformer import Transformer
from models.tokenizer import Tokenizer
from models.train.data.data_set import DataSet
from models.train.data.tokens import load_or_learn, vocab_size
from models.train.recipes.transfer import shape_of, transfer

_Module = TypeVar("_Module", bound=nn.Module)


def preset_of(checkpoint: Path | None) -> Preset:
    """The shape to train: a checkpoint's, or the emoji model's."""
    return checkpoints.open_checkpoint(checkpoint).preset if checkpoint else get_preset("emoji")


def _of_kind(kind: type[_Module], module: nn.Module) -> _Module:
    if not isinstance(module, kind):
        raise ValueError(f"a {type(module).__name__}, and this trains a {kind.__name__}")
    return module


def stage1_of(checkpoint: Path | None, run: Path | None = None) -> VQGAN:
    """Stage 1 with a run's averaged weights, else the checkpoint's, else fresh ones."""
    if run is None and checkpoint is not None:
        stage1 = checkpoints.load_stage1(checkpoints.open_checkpoint(checkpoint))
        return _of_kind(VQGAN, stage1).requires_grad_(True)
    model = _of_kind(VQGAN, build_codec(preset_of(checkpoint).stage1))
    if run is not None:
        model.load_state_dict(torch.load(run / "state.pt", weights_only=True)["average"])
    return model


def tokenizer_of(args: Namespace, data: DataSet) -> Tokenizer:
    """The checkpoint's tokenizer, else one learnt from the data and kept in `args.tokenizer`."""
    if args.checkpoint:
        found = checkpoints.load_tokenizer(checkpoints.open_checkpoint(args.checkpoint))
        if found is None:
            raise ValueError(
                f"{args.checkpoint} has no tokenizer: only a text model can be the start"
            )
        return found
    return load_or_learn(data, args.tokenizer)


def stage2_of(args: Namespace) -> Transformer:
    """Stage 2: fresh, fine-tuned from `args.checkpoint`, or transferred to another prefix."""
    if args.checkpoint is None:
        shape = replace(shape_of(get_preset("emoji")), vocab_size_txt=vocab_size(args.tokenizer))
        model = Transformer(shape)
        initialise(model, args.seed)
        if args.start:
            state = torch.load(args.start / "state.pt", weights_only=True)
            model.load_state_dict(state["average"])
        return model
    source = checkpoints.open_checkpoint(args.checkpoint)
    if args.prefix == source.preset.prompt_kind:
        return _of_kind(Transformer, checkpoints.load_stage2(source)).requires_grad_(True)
    model, report = transfer(source, args.prefix, args.classes)
    print(f"transfer from {args.checkpoint}:\n{report}")
    return model.requires_grad_(True)


def initialise(model: nn.Module, seed: int) -> None:
    """The reference's start: N(0, 0.02) for matrices and embeddings, zero biases, unit norms."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
