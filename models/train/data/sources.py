"""Which data set a command trains on: the one place that knows them all."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from models.errors import ConfigError
from models.flags import count_or_none, share, share_or_none
from models.train.data import shards
from models.train.data.data_set import DataSet
from models.train.data.emoji.art import load_art
from models.train.data.emoji.emoji_set import EmojiSet, Selection
from models.train.data.folder import Crops, FolderFiles, FolderSet
from models.train.data.scenes.scene_set import open_scenes

SCENES = Path("scenes")
_OF_ART = {  # what narrows the art down, and by which option
    "part": "--part",
    "styles": "--styles",
    "varied": "--varied",
    "stand_ins": "--stand-ins",
    "num_scenes": "--scenes",
    "more": "--more-art",
}


def add_place(parser: argparse.ArgumentParser) -> None:
    """Declare which data set it is."""
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `opened` wants to know: which data set, and how it is learnt from."""
    add_place(parser)
    parser.add_argument(
        "--crops",
        type=count_or_none,
        default=0,
        metavar="N",
        help="of such pictures: learn from N squares of each, at random places"
        " (default: %(default)s, the middle alone)",
    )
    parser.add_argument(
        "--crop-area",
        type=share,
        default=1.0,
        metavar="SHARE",
        help="of the largest square, which theirs is at least (default: %(default)s)",
    )
    parser.add_argument("--mirrors", action="store_true", help="half of these squares mirrored")
    parser.add_argument(
        "--other-languages",
        type=share_or_none,
        metavar="SHARE",
        help="of scenes' captions, where they can be said in one"
        f" (default: {Selection().foreign}; the rest is English)",
    )


def opened(args: argparse.Namespace, size: int = 64, selection: Selection | None = None) -> DataSet:
    """The data set that the options name; see `open_data`.

    Raises:
        ConfigError: they name squares that can't be, or languages of captions that are given.
    """
    chosen = selection or Selection()
    if args.other_languages is not None:
        if not _are_scenes(args.data):
            raise ConfigError(f'--other-languages: of "{SCENES}" only: give --data {SCENES}')
        chosen = replace(chosen, foreign=args.other_languages)
    if not args.crops and (args.mirrors or args.crop_area < 1):
        raise ConfigError("--crop-area, --mirrors: of how many squares? give --crops")
    crops = Crops(args.crops, args.crop_area, args.mirrors)
    return open_data(args.data, args.art, size, chosen, crops)


def open_data(
    folder: Path | None,
    art: Path,
    size: int = 64,
    selection: Selection | None = None,
    crops: Crops | None = None,
) -> DataSet:
    """One's own pictures in `folder`, or in shards, or scenes, or without these the emoji set.

    The art is cached in `art`. Pictures are `size` pixels wide; `selection` narrows the art down,
    `crops` are those of one's own. ConfigError for a selection of one's own pictures.
    """
    chosen = selection or Selection()
    if _are_scenes(folder):
        return open_scenes(art, size, chosen)
    if folder is None:
        return EmojiSet(load_art(art, size, more=chosen.more), chosen)
    for name, option in _OF_ART.items():
        if getattr(chosen, name) != getattr(Selection(), name):
            raise ConfigError(f"{option}: of the emoji art only, not of {folder}")
    if shards.is_named(folder):
        return FolderSet(shards.ShardFiles(shards.paths(folder)), size, crops)
    return FolderSet(FolderFiles(folder), size, crops)


def _are_scenes(folder: Path | None) -> bool:
    """Whether --data means the scenes of the art, not a folder that has their name."""
    return folder == SCENES and not SCENES.is_dir()
