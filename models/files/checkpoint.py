"""A checkpoint folder → its preset, stage 1, stage 2 and tokenizer.

Seven layouts: our converted shards (manifest.json), minDALL-E's official pair of files, a
fine-tuning run's single last.ckpt, the HQ family's single file in ckpt/, the RQ family's folder for
each stage, a project of taming-transformers, and a pixel model's model.pt. Models are built on the
meta device and filled tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from models import lookalikes
from models.configs import Preset
from models.errors import ConfigError, CorruptFileError, MissingFileError
from models.families import build_codec, build_prior
from models.files import config, pixel_file, rq_folder, shards, taming_folder
from models.files.official import OfficialWeights
from models.files.weights import WeightSource, fill, on_meta
from models.no_prior import NoPriorConfig
from models.raw_pixels_config import RawPixelsConfig
from models.tokenizer import Tokenizer

Layout = Literal["converted", "official", "lightning", "hq", "rq", "taming", "pixels"]
Stage = Literal["stage1", "stage2"]

STAGE_FILES: dict[Stage, str] = {"stage1": "stage1_last.ckpt", "stage2": "stage2_last.ckpt"}
RQ_FILES: dict[Stage, str] = {"stage1": "stage1/model.pt", "stage2": "stage2/model.pt"}
LIGHTNING_FILE = "last.ckpt"
HQ_FILES = ("ckpt/state_dict.ckpt", "ckpt/last.ckpt")  # the authors take the first that is there
TOKENIZER_FOLDER = "tokenizer"


def _hq_file(folder: Path) -> str:
    """The HQ family's one file of weights; empty where there is none."""
    return next((name for name in HQ_FILES if (folder / name).is_file()), "")


_WEIGHT_FILES: dict[Layout, Callable[[Path], tuple[str, ...]]] = {
    "converted": lambda _folder: (shards.MANIFEST_NAME,),
    "official": lambda _folder: tuple(STAGE_FILES.values()),
    "lightning": lambda _folder: (LIGHTNING_FILE,),
    "hq": lambda folder: (_hq_file(folder),),
    "rq": lambda _folder: tuple(RQ_FILES.values()),
    "taming": lambda folder: (taming_folder.weights_name(folder),),
    "pixels": lambda _folder: (pixel_file.MODEL_FILE,),
}
# Those that a family's own files tell, whatever else lies beside them.
_OF_FAMILIES: dict[Layout, Callable[[Path], bool]] = {
    "rq": rq_folder.is_official,
    "taming": taming_folder.is_official,
    "pixels": pixel_file.is_checkpoint,
}


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
        return _WEIGHT_FILES[self.layout](self.folder)

    def source(self, stage: Stage) -> WeightSource:
        """Where one stage's tensors come from."""
        stage_config = self.preset.stage1 if stage == "stage1" else self.preset.stage2
        if isinstance(stage_config, RawPixelsConfig):
            return pixel_file.NoWeights()
        files = self.weight_files
        path = self.folder / files[0 if stage == "stage1" else -1]  # one file, or one for each
        match self.layout:
            case "converted":
                return shards.ShardedWeights(self.folder, stage)
            case "lightning" | "hq":
                return OfficialWeights(path, f"{stage}.", stage_config)
            case "taming":
                prefix = taming_folder.key_prefix(stage, self.preset.stage2)
                unread = taming_folder.unread_keys(prefix)
                taming_folder.check_order(path, self.preset.stage1)
                return OfficialWeights(path, prefix, stage_config, unread=unread)
            case _:
                is_averaged = self.is_averaged and stage == "stage2"
                state = "state_dict_ema" if is_averaged else "state_dict"
                return OfficialWeights(path, "", stage_config, state)

    def module(self, stage: Stage, codec: nn.Module | None = None) -> nn.Module:
        """One stage without memory; see `load_stage2` for `codec`."""
        preset = self.preset
        if stage == "stage1":
            return on_meta(lambda: build_codec(preset.stage1))
        return on_meta(lambda: build_prior(preset.stage2, codec or build_codec(preset.stage1)))


def open_checkpoint(
    folder: Path,
    *,
    verify_sha256: bool = False,
    averaged: bool = False,
    codec_alone: bool = False,
) -> Checkpoint:
    """Read the folder's config and see which layout it has.

    With `verify_sha256` every file of a converted folder is compared with its manifest first, and
    those of another layout are looked at as far as their first bytes tell something. With
    `averaged` an RQ-Transformer's weights are the moving average in its file. With `codec_alone` a
    folder without a stage 2 will do.

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
    if isinstance(preset.stage2, NoPriorConfig) and not codec_alone:
        raise MissingFileError(
            f"{folder} holds stage 1 alone, the codec: nothing draws pictures; give the folder"
            " of a transformer that was trained on its codes"
        )
    return checkpoint


def _verify(checkpoint: Checkpoint) -> None:
    """CheckpointError where a file is not what its name says, as far as that can be told."""
    folder = checkpoint.folder
    if checkpoint.layout == "converted":
        shards.verify(folder)
        return
    judges = (checkpoint.preset.clip, checkpoint.preset.classifier)
    for name in (*checkpoint.weight_files, *(judge.weights for judge in judges if judge)):
        if not (folder / name).is_file():
            raise lookalikes.missing(folder / name)
        if what := lookalikes.content(folder / name):
            raise CorruptFileError(f"{folder / name} {what}")
    if (folder / TOKENIZER_FOLDER).is_dir():
        load_tokenizer(checkpoint)


def _check_folder(folder: Path) -> None:
    """MissingFileError for what is given in place of a checkpoint's folder, and what to do."""
    if any(is_here(folder) for is_here in _OF_FAMILIES.values()):
        return
    for parent in folder.resolve().parents[:2]:
        if _is_nested(parent):
            at = "a file" if folder.is_file() else "one folder too low"
            raise MissingFileError(f"{folder} is {at}: the checkpoint is {parent}")
    if what := lookalikes.folder(folder):
        raise MissingFileError(f"checkpoint folder {folder} {what}")


def _is_nested(folder: Path) -> bool:
    """Whether it is a family's official folder, with files in folders below."""
    return rq_folder.is_official(folder) or taming_folder.is_official(folder)


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


def _layout(folder: Path) -> Layout:
    if (folder / shards.MANIFEST_NAME).is_file():
        return "converted"
    for layout, is_here in _OF_FAMILIES.items():
        if is_here(folder):
            return layout
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
