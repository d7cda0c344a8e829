"""A checkpoint folder → its preset, stage 1, stage 2 and tokenizer.

Six layouts: our converted shards (manifest.json), minDALL-E's official pair of files, a fine-tuning
run's single last.ckpt, the HQ family's single file in ckpt/, the RQ family's folder for each stage,
and a pixel model's model.pt. Models are built on the meta device and filled tensor by tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from models import lookalikes
from models.configs import Preset
from models.errors import ConfigError, CorruptFileError, MissingFileError
from models.families import build_codec, build_prior
from models.files import config, pixel_file, rq_folder, shards
from models.files.official import OfficialWeights
from models.files.weights import WeightSource, fill, on_meta
from models.raw_pixels_config import RawPixelsConfig
from models.tokenizer import Tokenizer

Layout = Literal["converted", "official", "lightning", "hq", "rq", "pixels"]
Stage = Literal["stage1", "stage2"]

STAGE_FILES: dict[Stage, str] = {"stage1": "stage1_last.ckpt", "stage2": "stage2_last.ckpt"}
RQ_FILES: dict[Stage, str] = {"stage1": "stage1/model.pt", "stage2": "stage2/model.pt"}
LIGHTNING_FILE = "last.ckpt"
HQ_FILES = ("ckpt/state_dict.ckpt", "ckpt/last.ckpt")  # the authors take the first that is there
TOKENIZER_FOLDER = "tokenizer"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was found to hold a model; nothing of its weights is read yet."""

    folder: Path
    preset: Preset
    layout: Layout
    is_averaged: bool = False  # whether stage 2 is the moving average that the file also holds

    @property
    def weight_files(self) -> tuple[str, ...]:
        """What its weights are known by: the files that hold them, or the list of these."""
        match self.layout:
            case "official":
                return tuple(STAGE_FILES.values())
            case "lightning":
                return (LIGHTNING_FILE,)
            case "hq":
                return (_hq_file(self.folder),)
            case "rq":
                return tuple(RQ_FILES.values())
            case "pixels":
                return (pixel_file.MODEL_FILE,)
            case "converted":
                return (shards.MANIFEST_NAME,)

    def source(self, stage: Stage) -> WeightSource:
        """Where one stage's tensors come from."""
        stage_config = self.preset.stage1 if stage == "stage1" else self.preset.stage2
        if isinstance(stage_config, RawPixelsConfig):
            return pixel_file.NoWeights()
        match self.layout:
            case "converted":
                return shards.ShardedWeights(self.folder, stage)
            case "official":
                return OfficialWeights(self.folder / STAGE_FILES[stage], "", stage_config)
            case "lightning" | "hq":
                (name,) = self.weight_files
                return OfficialWeights(self.folder / name, f"{stage}.", stage_config)
            case "rq":
                is_averaged = self.is_averaged and stage == "stage2"
                state = "state_dict_ema" if is_averaged else "state_dict"
                return OfficialWeights(self.folder / RQ_FILES[stage], "", stage_config, state)
            case "pixels":
                return OfficialWeights(self.folder / pixel_file.MODEL_FILE, "", stage_config)

    def module(self, stage: Stage, codec: nn.Module | None = None) -> nn.Module:
        """One stage without memory; see `load_stage2` for `codec`."""
        preset = self.preset
        if stage == "stage1":
            return on_meta(lambda: build_codec(preset.stage1))
        return on_meta(lambda: build_prior(preset.stage2, codec or build_codec(preset.stage1)))


def open_checkpoint(
    folder: Path, *, verify_sha256: bool = False, averaged: bool = False
) -> Checkpoint:
    """Read the folder's config and see which layout it has.

    With `verify_sha256` every file of a converted folder is compared with its manifest first, and
    those of another layout are looked at as far as their first bytes tell something. With
    `averaged` an RQ-Transformer's weights are the moving average in its file.

    Raises:
        CheckpointError: the folder can't be used, and why.
    """
    _check_folder(folder)
    preset = config.read(folder)
    layout = _layout(folder)
    checkpoint = Checkpoint(folder, preset, layout, averaged)
    if verify_sha256:
        _verify(checkpoint)
    if averaged and layout != "rq":
        raise ConfigError(f"{folder} holds no moving average: only the RQ family's files may")
    return checkpoint


def _verify(checkpoint: Checkpoint) -> None:
    """CheckpointError where a file is not what its name says, as far as that can be told."""
    folder = checkpoint.folder
    if checkpoint.layout == "converted":
        shards.verify(folder)
        return
    for name in checkpoint.weight_files:
        if what := lookalikes.content(folder / name):
            raise CorruptFileError(f"{folder / name} {what}")
    if (folder / TOKENIZER_FOLDER).is_dir():
        load_tokenizer(checkpoint)


def _check_folder(folder: Path) -> None:
    """MissingFileError for what is given in place of a checkpoint's folder, and what to do."""
    if rq_folder.is_official(folder) or pixel_file.is_checkpoint(folder):
        return
    if rq_folder.is_official(folder.resolve().parent):
        parent = folder.resolve().parent
        raise MissingFileError(f"{folder} is one folder too low: the checkpoint is {parent}")
    if what := lookalikes.folder(folder):
        raise MissingFileError(f"checkpoint folder {folder} {what}")


def load_stage1(
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Load the codec, frozen and in evaluation mode.

    Raises:
        CheckpointError: a file is missing, damaged, unsafe, or does not fit the config.
    """
    stage1 = checkpoint.module("stage1")
    fill(stage1, checkpoint.source("stage1"), device, dtype)
    return stage1


def load_stage2(
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    codec: nn.Module | None = None,
) -> nn.Module:
    """Load the prior, frozen and in evaluation mode.

    `codec` is its stage 1, for priors that read the codebook; by default one without weights.

    Raises:
        CheckpointError: as `load_stage1`.
    """
    stage2 = checkpoint.module("stage2", codec)
    fill(stage2, checkpoint.source("stage2"), device, dtype)
    return stage2


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    """Load the text tokenizer; None for models without text.

    Raises:
        CheckpointError: its files are missing or damaged, or it makes ids that stage 2 lacks.
    """
    preset = checkpoint.preset
    if preset.prompt_kind != "text":
        return None
    tokenizer = Tokenizer.load(checkpoint.folder / TOKENIZER_FOLDER, preset.prompt_len)
    tokenizer.check_fits(preset.stage2.prompt_vocab_size)
    return tokenizer


def _hq_file(folder: Path) -> str:
    """The HQ family's one file of weights; empty where there is none."""
    return next((name for name in HQ_FILES if (folder / name).is_file()), "")


def _layout(folder: Path) -> Layout:
    if (folder / shards.MANIFEST_NAME).is_file():
        return "converted"
    if rq_folder.is_official(folder):
        return "rq"
    if pixel_file.is_checkpoint(folder):
        return "pixels"
    absent = [name for name in STAGE_FILES.values() if not (folder / name).is_file()]
    if not absent:
        return "official"
    if (folder / LIGHTNING_FILE).is_file():
        return "lightning"
    if _hq_file(folder):
        return "hq"
    hints = [str(lookalikes.missing(folder / name)) for name in absent]
    raise MissingFileError(
        f"{folder} holds no weights: no {shards.MANIFEST_NAME}, no {LIGHTNING_FILE}, and of the"
        f" official files {' and '.join(absent)} missing ({'; '.join(hints)})"
    )
