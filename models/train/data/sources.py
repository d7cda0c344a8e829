"""Which data set a command trains on: the one place that knows them all."""

from __future__ import annotations

import argparse
from pathlib import Path

from models.train.data.data_set import DataSet
from models.train.data.emoji.art import load_art
from models.train.data.emoji.emoji_set import EmojiSet, Selection
from models.train.data.folder import FolderSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `open_data` wants to know."""
    parser.add_argument(
        "--art", type=Path, default=Path("runs/emoji-art"), help="the emoji set's cache"
    )
    parser.add_argument("--data", type=Path, help="a folder of pictures and captions instead")


def open_data(
    folder: Path | None, art: Path, size: int = 64, selection: Selection | None = None
) -> DataSet:
    """One's own pictures in `folder`, or without one the emoji set, its art cached in `art`.

    Pictures are `size` pixels wide; `selection` narrows the emoji set down.
    """
    return FolderSet(folder, size) if folder else EmojiSet(load_art(art, size), selection)
