"""Folders as people copy them, to damage: two that are right, and what is read when all is read.

Knows no fault: they are in the files beside it, by what is wrong with a file or with a folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.files.checkpoint import Checkpoint, load_stage2, load_tokenizer, open_checkpoint
from models.presets.register import WEIGHTS_FOLDER
from models.rerank import clip_files
from tests.models.golden import GOLDEN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of an official text model's folder."""
    return Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """A copy of a converted folder, with CLIP."""
    return Path(shutil.copytree(WEIGHTS_FOLDER / "emoji", tmp_path / "emoji"))


def load_all(folder: Path) -> Checkpoint:
    """Read every file of the folder."""
    checkpoint = open_checkpoint(folder)
    load_tokenizer(checkpoint)
    load_stage2(checkpoint)
    if checkpoint.preset.clip:
        clip_files.load(checkpoint.preset.clip, folder)
    return checkpoint
