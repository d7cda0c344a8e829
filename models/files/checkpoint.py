"""A checkpoint folder → its preset, stage 1, stage 2 and tokenizer.

Three layouts: our converted shards (manifest.json), the official pair of files, and a fine-tuning
run's single last.ckpt. Models are built on the meta device and filled tensor by tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from models.configs import PrefixKind, Preset
from models.errors import MissingFileError
from models.files import config, shards
from models.files.official import OfficialWeights
from models.files.weights import WeightSource, fill, on_meta
from models.stage1.vqgan import VQGAN
from models.stage2.transformer import Transformer
from models.tokenizer import Tokenizer

Layout = Literal["converted", "official", "lightning"]
Stage = Literal["stage1", "stage2"]

STAGE_FILES: dict[Stage, str] = {"stage1": "stage1_last.ckpt", "stage2": "stage2_last.ckpt"}
LIGHTNING_FILE = "last.ckpt"
TOKENIZER_FOLDER = "tokenizer"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was found to hold a model; nothing of its weights is read yet."""

    folder: Path
    preset: Preset
    layout: Layout

    def source(self, stage: Stage) -> WeightSource:
        """Where one stage's tensors come from."""
        prefix: PrefixKind | None = self.preset.stage2.prefix if stage == "stage2" else None
        match self.layout:
            case "converted":
                return shards.ShardedWeights(self.folder, stage)
            case "official":
                return OfficialWeights(self.folder / STAGE_FILES[stage], "", prefix)
            case "lightning":
                return OfficialWeights(self.folder / LIGHTNING_FILE, f"{stage}.", prefix)


def open_checkpoint(folder: Path, *, verify_sha256: bool = False) -> Checkpoint:
    """Read the folder's config and see which layout it has.

    Args:
        folder: the checkpoint.
        verify_sha256: compare every file of a converted folder with its manifest first.

    Raises:
        CheckpointError: the folder can't be used, and why.
    """
    if not folder.is_dir():
        raise MissingFileError(f"checkpoint folder {folder} does not exist")
    preset = config.read(folder)
    layout = _layout(folder)
    if verify_sha256 and layout == "converted":
        shards.verify(folder)
    return Checkpoint(folder, preset, layout)


def load_stage1(
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VQGAN:
    """Load the codec, frozen and in evaluation mode.

    Raises:
        CheckpointError: a file is missing, damaged, unsafe, or does not fit the config.
    """
    stage1 = on_meta(lambda: VQGAN(checkpoint.preset.stage1))
    fill(stage1, checkpoint.source("stage1"), device, dtype)
    return stage1


def load_stage2(
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Transformer:
    """Load the transformer, frozen and in evaluation mode.

    Raises:
        CheckpointError: as `load_stage1`.
    """
    stage2 = on_meta(lambda: Transformer(checkpoint.preset.stage2))
    fill(stage2, checkpoint.source("stage2"), device, dtype)
    return stage2


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    """Load the text tokenizer; None for models without text.

    Raises:
        CheckpointError: its files are missing or damaged, or it makes ids that stage 2 lacks.
    """
    shape = checkpoint.preset.stage2
    if shape.prefix != "text":
        return None
    tokenizer = Tokenizer.load(checkpoint.folder / TOKENIZER_FOLDER, shape.ctx_len_txt)
    tokenizer.check_fits(shape.vocab_size_txt)
    return tokenizer


def _layout(folder: Path) -> Layout:
    if (folder / shards.MANIFEST_NAME).is_file():
        return "converted"
    absent = [name for name in STAGE_FILES.values() if not (folder / name).is_file()]
    if not absent:
        return "official"
    if (folder / LIGHTNING_FILE).is_file():
        return "lightning"
    raise MissingFileError(
        f"{folder} holds no weights: no {shards.MANIFEST_NAME}, no {LIGHTNING_FILE}, and of the"
        f" official files {' and '.join(absent)} missing"
    )
