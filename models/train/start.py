"""What a run starts from: fresh weights of a family's shape, a checkpoint, or another run.

Knows no data and no losses.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from models.configs.codec import CodecConfig
from models.configs.preset import Preset
from models.configs.prior import PriorConfig
from models.configs.rankers import ClipConfig
from models.errors import ConfigError, MissingFileError
from models.families import build_codec, build_prior
from models.files import checkpoint as checkpoints
from models.files.checkpoint import TOKENIZER_FOLDER
from models.files.layouts import CODEC_READERS, PRIOR_READERS, written
from models.files.weights import on_meta
from models.presets.register import get_preset
from models.rerank.clip_files import own_description
from models.tokenizer import Tokenizer
from models.train import shapes
from models.train.data.data_set import DataSet
from models.train.data.tokens import CONTEXT_LENGTH, load_or_learn, vocab_size
from models.train.loop.checkpoints import averaged, latest
from models.train.recipes.prior import PromptShape
from models.train.recipes.register import (
    CODEC_RECIPES,
    PRIOR_RECIPES,
    codec_recipe,
    prior_recipe,
)
from models.train.recipes.transfer import transfer
from models.train.recipes.transformer import shape_of, sized

_Shape = TypeVar("_Shape", CodecConfig, PriorConfig)


def preset_of(checkpoint: Path | None) -> Preset:
    """A checkpoint's, or the emoji model's."""
    return checkpoints.open_checkpoint(checkpoint).preset if checkpoint else get_preset("emoji")


def put_averaged(model: nn.Module, run: Path) -> None:
    """Give a model a run's averaged weights; ConfigError where they are another's."""
    try:
        model.load_state_dict(averaged(run)[1])
    except RuntimeError as error:
        raise ConfigError(
            f"{run}: its weights don't fit {shapes.NAME} there (without one: the emoji model)"
        ) from error


def codec_shape_of(checkpoint: Path | None, run: Path | None) -> CodecConfig:
    """Of the codec of a run, else a checkpoint's, else the emoji model's."""
    return (run and shapes.load_codec(run)) or preset_of(checkpoint).stage1


def codec_of(checkpoint: Path | None, run: Path | None) -> nn.Module | None:
    """A codec to be used: with a run's averaged weights, else the checkpoint's, if one is given."""
    if run is not None:
        shape = codec_shape_of(checkpoint, run)
        model = build_codec(shape)
        put_averaged(model, run)
    elif checkpoint is not None:
        model = checkpoints.load_stage1(checkpoints.open_checkpoint(checkpoint))
    else:
        return None
    return model.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class RankerStart:
    """A checkpoint's ranker, to be trained further."""

    config: ClipConfig
    folder: Path
    document: dict[str, Any]

    @property
    def size(self) -> int:
        """Pixels a side that it looks at."""
        size: int = self.document["model_cfg"]["vision_cfg"]["image_size"]
        return size


def ranker_of(checkpoint: Path) -> RankerStart:
    """A checkpoint's ranker; ConfigError where it has none."""
    found = checkpoints.open_checkpoint(checkpoint)
    config = found.preset.clip
    if config is None:
        raise ConfigError(f"--init: {checkpoint} has no CLIP that re-ranks")
    return RankerStart(config, found.folder, own_description(config, found.folder))


def codec_to_train(args: Namespace) -> tuple[CodecConfig, nn.Module]:
    """The codec that a run of stage 1 begins with, and its shape, now noted in the run's folder.

    Raises:
        ConfigError: the options contradict each other, or what the run goes on from.
    """
    known = shapes.load_codec(args.run) if args.resume else None
    if known is None and (args.start or args.checkpoint):
        known = codec_shape_of(args.checkpoint, args.start)
    if known is None:
        shape = shapes.changed(CODEC_RECIPES[args.family or "vqgan"].shape, args.shape)
        CODEC_READERS[type(shape)](written(shape), "stage1")  # refuses what can't be built
    else:
        shape = _agreed(args, known)
    shapes.save(args.run, shape)
    if args.checkpoint and not args.start:
        loaded = checkpoints.load_stage1(checkpoints.open_checkpoint(args.checkpoint))
        return shape, loaded.train().requires_grad_(True)
    model = build_codec(shape)
    if args.start:
        put_averaged(model, args.start)
    return shape, model


def prior_to_train(
    args: Namespace, codec_shape: CodecConfig, codec: nn.Module | None
) -> tuple[PriorConfig, nn.Module]:
    """The prior that a run of stage 2 begins with, and its shape, now noted in the run's folder.

    It is fresh, as always with --size, another run's, fine-tuned or transferred. `codec` is given
    where one is known.

    Raises:
        ConfigError: the options contradict each other, or what the run goes on from.
    """
    known = _known_prior(args)
    if args.checkpoint and known is None and not args.size:
        shape, model = _from_checkpoint(args, codec)
    else:
        shape = _agreed(args, known) if known else _fresh_prior(args, codec_shape)
        if prior_recipe(shape).reads_codec and codec is None:
            raise ConfigError("this prior reads stage 1's codebook: give --stage1")
        model = build_prior(shape, codec or on_meta(lambda: build_codec(codec_shape)))
        initialise(model, args.seed)
    if args.start:
        put_averaged(model, args.start)
    shapes.save(args.run, shape)
    model.train().requires_grad_(True)
    if args.keep_words:
        _keep_words(model, shape)
    return shape, model


def _known_prior(args: Namespace) -> PriorConfig | None:
    """Of the run that is gone on with: with --resume itself, else another, if there is one.

    CheckpointError where that holds none, or draws after something else than --prefix says.
    """
    known = shapes.load_prior(args.run) if args.resume else None
    if known is None and args.start:
        if latest(args.start) is None:
            raise MissingFileError(f"--start: {args.start} holds no checkpoint of a run")
        known = shapes.load_prior(args.start)
    if known is not None and known.prompt_kind != args.prefix:
        raise ConfigError(f"--prefix: the weights to go on from take {known.prompt_kind}")
    return known


def _keep_words(model: nn.Module, shape: PriorConfig) -> None:
    """The embeddings of its text don't learn; ConfigError where it has none."""
    if shape.prompt_kind != "text":
        raise ConfigError("--keep-words: only with --prefix text")
    words = prior_recipe(shape).words
    for name, weight in model.named_parameters():
        if name.startswith(words):
            weight.requires_grad_(False)


def _from_checkpoint(args: Namespace, codec: nn.Module | None) -> tuple[PriorConfig, nn.Module]:
    source = checkpoints.open_checkpoint(args.checkpoint)
    if args.prefix == source.preset.prompt_kind:
        shape = _agreed(args, source.preset.stage2)
        return shape, checkpoints.load_stage2(source, codec=codec)
    model, report = transfer(source, args.prefix, args.classes)
    print(f"transfer from {args.checkpoint}:\n{report}")
    return model.config, model


def _fresh_prior(args: Namespace, codec: CodecConfig) -> PriorConfig:
    prompt = _prompt(args)
    family = args.family or codec_recipe(codec).prior
    if args.size and family != "transformer":
        raise ConfigError("--size: only of --family transformer")
    of = partial(shape_of, size=args.size) if args.size else PRIOR_RECIPES[family].shape
    shape = shapes.changed(of(codec, prompt), args.shape)
    is_read = shape.prompt_kind == prompt.kind and shape.prompt_len == prompt.length
    if not is_read or shape.prompt_vocab_size < prompt.vocab_size:
        raise ConfigError("--shape: a picture is drawn after what --prefix and --tokenizer say")
    PRIOR_READERS[type(shape)](written(shape), "stage2", codec)  # refuses what doesn't fit
    return shape


def _prompt(args: Namespace) -> PromptShape:
    if args.prefix == "text":
        return PromptShape("text", vocab_size(args.tokenizer), _context_length(args))
    return PromptShape(args.prefix, num_classes(args) if args.prefix == "class" else 1)


def _agreed(args: Namespace, known: _Shape) -> _Shape:
    """What is known already, unless the options want something else."""
    family = shapes.family_of(known)
    if args.family not in (None, family) or shapes.changed(known, args.shape) != known:
        raise ConfigError(f"--family, --shape: the weights to go on from are another {family}'s")
    return known


def tokenizer_of(args: Namespace, data: DataSet) -> Tokenizer:
    """The tokenizer of the checkpoint that is gone on with, else the one in `args.tokenizer`.

    For a fresh prior it is learnt from the data where there is none yet.

    Raises:
        CheckpointError: what is gone on with takes no text, or the tokenizer is missing, damaged
            or not its own.
    """
    folder, reader = args.tokenizer, _known_prior(args)
    if args.checkpoint is not None and not args.size:
        preset, inside = preset_of(args.checkpoint), args.checkpoint / TOKENIZER_FOLDER
        if preset.prompt_kind != "text":
            raise ConfigError(f"{args.checkpoint} takes no text: --prefix {preset.prompt_kind}")
        folder, reader = inside if inside.is_dir() else folder, reader or preset.stage2
    if reader is None:
        return load_or_learn(data, folder, context_length=_context_length(args))
    tokenizer = Tokenizer.load(folder, reader.prompt_len)
    tokenizer.check_fits(reader.prompt_vocab_size)
    return tokenizer


def num_classes(args: Namespace) -> int:
    """With --prefix class: as many as the weights to go on from have, else as --classes says.

    ConfigError where neither says it, or they differ.
    """
    known = _known_prior(args)
    if known is None and args.checkpoint and not args.size:
        preset = preset_of(args.checkpoint)
        known = preset.stage2 if preset.prompt_kind == "class" else None
    if known is None and not args.classes:
        raise ConfigError("--prefix class: of how many? give --classes")
    number: int = known.prompt_vocab_size if known else args.classes
    if args.classes not in {0, number}:
        raise ConfigError(f"--classes: the weights to go on from have {number}")
    return number


def own_tokenizer(checkpoint: Path) -> Tokenizer:
    """A checkpoint's tokenizer; ConfigError where it takes no text."""
    found = checkpoints.load_tokenizer(checkpoints.open_checkpoint(checkpoint))
    if found is None:
        raise ConfigError(f"--init: {checkpoint} takes no text")
    return found


def _context_length(args: Namespace) -> int:
    return sized(args.size).ctx_len_txt if args.size else CONTEXT_LENGTH


def initialise(model: nn.Module, seed: int) -> None:
    """The reference's start: N(0, 0.02) for matrices and embeddings, zero biases, unit norms."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
