"""The named presets, as data. Knows no torch, so that the API process can read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.configs.preset import Preset
from models.errors import MissingFileError
from models.presets.dalle import DALLE_PRESETS
from models.presets.emoji import EMOJI_PRESETS
from models.presets.hq import HQ_PRESETS
from models.presets.mindalle import MINDALLE_PRESETS, TINY_PRESETS
from models.presets.pixels import PIXEL_PRESETS
from models.presets.rq import RQ_PRESETS
from models.presets.taming import TAMING_PRESETS

WEIGHTS_FOLDER = Path(__file__).parents[1] / "weights"

_ALL = (
    *MINDALLE_PRESETS,
    *EMOJI_PRESETS,
    *TINY_PRESETS,
    *RQ_PRESETS,
    *DALLE_PRESETS,
    *HQ_PRESETS,
    *TAMING_PRESETS,
    *PIXEL_PRESETS,
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
# What callers may name to see a picture coarser than it is, whichever model made it.
VIEW_PARAMETERS = tuple(dict.fromkeys(v.parameter for preset in _ALL for v in preset.views))


def weights_folder(preset: Preset) -> Path | None:
    """Where the weights lie that a preset ships; None where random ones are made.

    Raises:
        MissingFileError: it ships none.
    """
    if preset.weights is None:
        raise MissingFileError(
            f"preset {preset.name} ships no weights: give its checkpoint folder (--checkpoint)"
        )
    return None if preset.weights == "random" else WEIGHTS_FOLDER / preset.weights


def without_missing_ranker(preset: Preset, folder: Path) -> Preset:
    """The preset as a folder has it that need not hold the file of its ranker."""
    has_clip = preset.clip is not None and (folder / preset.clip.weights).is_file()
    judge = preset.classifier
    has_classifier = judge is not None and (folder / judge.weights).is_file()
    return replace(
        preset,
        clip=preset.clip if has_clip else None,
        classifier=judge if has_classifier else None,
    )


def shipped_presets() -> tuple[str, ...]:
    """Names of the presets whose weights lie here."""
    return tuple(
        name
        for name, preset in PRESETS.items()
        if preset.weights not in (None, "random") and (WEIGHTS_FOLDER / preset.weights).is_dir()
    )


class UnknownPresetError(ValueError):
    """No preset has this name."""


def get_preset(name: str) -> Preset:
    """Look a preset up.

    Raises:
        UnknownPresetError: with the names that exist.
    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise UnknownPresetError(f"unknown preset {name!r}; known presets: {known}") from None
