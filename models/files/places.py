"""Which layout a checkpoint's folder has, and in which of its files each stage lies.

One entry for each layout of others: a family that comes in files of its own adds its own. Knows no
shapes and reads no weights; our converted folders, which list their files, are `shards`'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from models import lookalikes
from models.configs.preset import Preset
from models.errors import MissingFileError
from models.files import (
    pixel_file,
    rq_folder,
    rudalle_folder,
    scales_folder,
    shards,
    taming_folder,
)

Layout = Literal[
    "converted", "official", "lightning", "hq", "scales", "rq", "rudalle", "taming", "pixels"
]
Stage = Literal["stage1", "stage2"]

STAGES: tuple[Stage, Stage] = ("stage1", "stage2")
STAGE_FILES: dict[Stage, str] = {"stage1": "stage1_last.ckpt", "stage2": "stage2_last.ckpt"}
_LIGHTNING_FILE = "last.ckpt"
_HQ_FILES = ("ckpt/state_dict.ckpt", "ckpt/last.ckpt")  # the authors take the first that is there


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage's tensors lie; for what the fields mean see `OfficialWeights`."""

    file: str
    key_prefix: str = ""
    state_name: str = "state_dict"
    unread: str = ""
    check: Callable[[], None] = lambda: None  # before they are read; CheckpointError


def layout_of(folder: Path) -> Layout:
    """The layout of a folder that `config` could read.

    Raises:
        MissingFileError: it holds no weights.
    """
    for layout, is_here in _SIGNS.items():
        if is_here(folder):
            return layout
    absent = [name for name in STAGE_FILES.values() if not (folder / name).is_file()]
    hints = [str(lookalikes.missing(folder / name)) for name in absent]
    raise MissingFileError(
        f"{folder} holds no weights: no {shards.MANIFEST_NAME}, no {_LIGHTNING_FILE}, and of the"
        f" official files {' and '.join(absent)} missing ({'; '.join(hints)})"
    )


def is_of_family(folder: Path) -> bool:
    """Whether a family's own files tell what the folder holds, without a config.yaml of its own."""
    return any(is_here(folder) for is_here in _OF_FAMILIES.values())


def places(layout: Layout, folder: Path, preset: Preset, stage: Stage) -> dict[str, Place]:
    """Where a stage lies in a folder that is not converted, by the part of its module.

    The part is "" where one file holds all of it.
    """
    if layout == "scales" and stage == "stage2":
        return {part: _of_part(folder, part, stage) for part in scales_folder.PARTS[1:]}
    return {"": _PLACES[layout](folder, preset, stage)}


def _hq_file(folder: Path) -> str:
    """The HQ family's one file of weights; empty where there is none."""
    return next((name for name in _HQ_FILES if (folder / name).is_file()), "")


def _of_part(folder: Path, part: str, stage: Stage) -> Place:
    """Of the multi-scale VQ, whose parts are HQ's folders each: stage 1 has no prefix there."""
    prefix = "" if stage == "stage1" else f"{stage}."
    name = _hq_file(folder / part) or _HQ_FILES[-1]  # which is told to be missing
    return Place(f"{part}/{name}", prefix)


def _rudalle(folder: Path, _preset: Preset, stage: Stage) -> Place:
    name = rudalle_folder.stage_files(folder)[STAGES.index(stage)]
    return Place(name, unread=rudalle_folder.UNREAD)


def _taming(folder: Path, preset: Preset, stage: Stage) -> Place:
    prefix = taming_folder.key_prefix(stage, preset.stage2)
    name, unread = taming_folder.weights_name(folder), taming_folder.unread_keys(prefix)
    check = partial(taming_folder.check_order, folder / name, preset.stage1)
    return Place(name, prefix, unread=unread, check=check)


# Those that a family's own files tell, whatever else lies beside them.
_OF_FAMILIES: dict[Layout, Callable[[Path], bool]] = {
    "rq": rq_folder.is_official,
    "scales": scales_folder.is_official,
    "rudalle": rudalle_folder.is_official,
    "taming": taming_folder.is_official,
    "pixels": pixel_file.is_checkpoint,
}
_SIGNS: dict[Layout, Callable[[Path], bool]] = {  # the first one that is there
    "converted": lambda folder: (folder / shards.MANIFEST_NAME).is_file(),
    **_OF_FAMILIES,
    "official": lambda folder: all((folder / name).is_file() for name in STAGE_FILES.values()),
    "lightning": lambda folder: (folder / _LIGHTNING_FILE).is_file(),
    "hq": lambda folder: bool(_hq_file(folder)),
}
_PLACES: dict[Layout, Callable[[Path, Preset, Stage], Place]] = {
    "rq": lambda _folder, _preset, stage: Place(f"{stage}/model.pt"),
    "scales": lambda folder, _preset, stage: _of_part(folder, stage, stage),
    "rudalle": _rudalle,
    "taming": _taming,
    "pixels": lambda _folder, _preset, _stage: Place(pixel_file.MODEL_FILE),
    "official": lambda _folder, _preset, stage: Place(STAGE_FILES[stage]),
    "lightning": lambda _folder, _preset, stage: Place(_LIGHTNING_FILE, f"{stage}."),
    "hq": lambda folder, _preset, stage: Place(_hq_file(folder), f"{stage}."),
}
