"""A folder of weights that is written whole or not at all. Knows no model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from models.errors import CheckpointError
from models.files.shards import ShardWriter


class FolderInUseError(CheckpointError):
    """The folder to write to already holds something."""


def check_free(folder: Path) -> None:
    """Refuse what `new_folder` would, before the work that is to be written there.

    Raises:
        FolderInUseError: the folder holds something already.
    """
    if folder.is_file() or (folder.exists() and any(folder.iterdir())):
        raise FolderInUseError(f"{folder} is not empty")


@contextmanager
def new_folder(folder: Path, dtype: torch.dtype | None = None) -> Iterator[ShardWriter]:
    """Gives a writer into a draft, which becomes `folder` where nothing was raised.

    Raises:
        FolderInUseError: the folder holds something already.
    """
    check_free(folder)
    draft = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield ShardWriter(draft, dtype)
    if folder.exists():
        folder.rmdir()
    draft.rename(folder)
