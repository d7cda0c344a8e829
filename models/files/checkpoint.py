"""A checkpoint folder → its preset, stage 1, stage 2 and tokenizer.

Its layout, and which file of it holds what, is told by `places`. Models are built on the meta
device and filled tensor by tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from models import lookalikes
from models.configs.codec import CodecConfig
from models.configs.no_prior import NoPriorConfig
from models.configs.preset import Preset
from models.configs.prior import PriorConfig
from models.configs.raw_pixels import RawPixelsConfig
from models.errors import ConfigError, CorruptFileError, MissingFileError
from models.families import build_codec, build_prior
from models.files import (
    config,
    enhance_folder,
    pixel_file,
    rq_folder,
    scales_folder,
    shards,
    taming_folder,
)
from models.files.official import OfficialWeights
from models.files.places import STAGES, Layout, Place, Stage, is_of_family, layout_of, places
from models.files.weights import JoinedWeights, WeightSource, fill, on_meta
from models.tokenizer import YTTM_FILE, Tokenizer

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
        if self.layout == "converted":
            return (shards.MANIFEST_NAME,)
        places = [at for stage in STAGES for at in self._places(stage).values()]
        return tuple(dict.fromkeys(at.file for at in places))

    def source(self, stage: Stage) -> WeightSource:
        """Where one stage's tensors come from."""
        if isinstance(getattr(self.preset, stage), RawPixelsConfig):
            return pixel_file.NoWeights()
        if self.layout == "converted":
            return shards.ShardedWeights(self.folder, stage)
        places = self._places(stage)
        if "" in places:
            return self._source(places[""], stage, getattr(self.preset, stage))
        of_parts = {part: getattr(self.preset.stage2, part) for part in places}
        return JoinedWeights(
            {f"{part}.": self._source(places[part], stage, of_parts[part]) for part in places}
        )

    def _source(self, at: Place, stage: Stage, config: CodecConfig | PriorConfig) -> WeightSource:
        at.check()
        state = "state_dict_ema" if self.is_averaged and stage == "stage2" else at.state_name
        return OfficialWeights(self.folder / at.file, at.key_prefix, config, state, at.unread)

    def has(self, stage: Stage) -> bool:
        """Whether its file is there; only the parts of ru-DALL-E come one by one."""
        if self.layout == "converted":
            return True
        return all((self.folder / at.file).is_file() for at in self._places(stage).values())

    def _places(self, stage: Stage) -> dict[str, Place]:
        return places(self.layout, self.folder, self.preset, stage)

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
    layout = layout_of(folder)
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
    if tokenizer_folder(folder).is_dir():
        load_tokenizer(checkpoint)


def _check_folder(folder: Path) -> None:
    """MissingFileError for what is given in place of a checkpoint's folder, and what to do."""
    if is_of_family(folder):
        return
    for parent in folder.resolve().parents[:2]:
        if _is_nested(parent):
            at = "a file" if folder.is_file() else "one folder too low"
            raise MissingFileError(f"{folder} is {at}: the checkpoint is {parent}")
    if what := lookalikes.folder(folder):
        raise MissingFileError(f"checkpoint folder {folder} {what}")


def _is_nested(folder: Path) -> bool:
    """Whether it is a family's official folder, with files in folders below."""
    families = (rq_folder, scales_folder, taming_folder)
    return any(family.is_official(folder) for family in families)


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


def load_upsampler(
    checkpoint: Checkpoint, codec: nn.Module, device: torch.device | str = "cpu"
) -> nn.Module | None:
    """Load the upsampler of the folder's enhancement; None where it has none.

    `codec` is the stage 1 that was loaded, over which the upsampler must have been trained.

    Raises:
        CheckpointError: as `load_stage1`.
    """
    enhancement = checkpoint.preset.enhancement
    if enhancement is None:
        return None
    return enhance_folder.load(checkpoint.folder, enhancement, codec, device)


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    """Load the text tokenizer; None for models without text.

    Raises:
        CheckpointError: its files are missing or damaged, or it makes ids that stage 2 lacks.
    """
    preset = checkpoint.preset
    if preset.prompt_kind != "text":
        return None
    folder = tokenizer_folder(checkpoint.folder)
    if checkpoint.layout == "rudalle" and not folder.is_dir():
        raise lookalikes.missing(checkpoint.folder / YTTM_FILE)
    tokenizer = Tokenizer.load(folder, preset.prompt_len)
    tokenizer.check_fits(preset.stage2.prompt_vocab_size)
    return tokenizer


def tokenizer_folder(folder: Path) -> Path:
    """Where a checkpoint's folder has its tokenizer: ru-DALL-E's lies among its other files."""
    inner = folder / TOKENIZER_FOLDER
    return folder if (folder / YTTM_FILE).is_file() and not inner.is_dir() else inner
