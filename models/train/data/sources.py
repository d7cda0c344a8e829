"""Which data set a command trains on: the one place that knows them all."""

from __future__ import annotations

import argparse
from pathlib import Path

from models.train.data import shards
from models.train.data.data_set import DataSet
from models.train.data.emoji.art import load_art
from models.train.data.emoji.emoji_set import EmojiSet, Selection
from models.train.data.folder import FolderFiles, FolderSet
from models.train.data.scenes.scene_set import open_scenes

SCENES = Path("scenes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `open_data` wants to know."""
    parser.add_argument(
        "--art",
        type=Path,
        default=Path("runs/emoji-art"),
        metavar="DIR",
        help="the emoji set's cache (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help=f"pictures and captions instead: a folder, or WebDataset shards {{0000..1279}}.tar,"
        f' or "{SCENES}": scenes of the emoji art (default: the emoji set)',
    )
    parser.add_argument(
        "--crops",
        type=int,
        default=0,
        metavar="N",
        help="of such pictures: learn from N squares of each, at random places"
        " (default: %(default)s, the middle alone)",
    )


def open_data(
    folder: Path | None,
    art: Path,
    size: int = 64,
    selection: Selection | None = None,
    crops: int = 0,
) -> DataSet:
    """One's own pictures in `folder`, or in shards, or scenes, or without these the emoji set.

    The art is cached in `art`. Pictures are `size` pixels wide; `selection` narrows the art down,
    `crops` are FolderSet's.
    """
    if folder == SCENES and not folder.is_dir():
        return open_scenes(art, size, selection)
    if folder is None:
        return EmojiSet(load_art(art, size), selection)
    if shards.is_named(folder):
        return FolderSet(shards.ShardFiles(shards.paths(folder)), size, crops)
    return FolderSet(FolderFiles(folder), size, crops)
