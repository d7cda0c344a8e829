"""What a run trains, or a table of codes is of: the family's name and the shape, in a file there.

Runs from before this file are the emoji model's. Knows no weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import yaml

from models.configs.codec import CodecConfig
from models.configs.enhancement import UpsamplerConfig
from models.configs.prior import PriorConfig
from models.errors import ConfigError
from models.files.checked import checked
from models.files.documents import json_in
from models.train.loop.checkpoints import latest, run_of
from models.train.recipes.register import (
    CODEC_RECIPES,
    PRIOR_RECIPES,
    CodecRecipe,
    PriorRecipe,
)

NAME = "shape.json"
_RECIPES: dict[str, CodecRecipe | PriorRecipe] = {**CODEC_RECIPES, **PRIOR_RECIPES}
_Shape = TypeVar("_Shape", CodecConfig, PriorConfig, UpsamplerConfig)


def family_of(shape: CodecConfig | PriorConfig) -> str:
    """The name of the family that a shape is of."""
    return next(name for name, recipe in _RECIPES.items() if isinstance(shape, recipe.config))


def save(folder: Path, shape: CodecConfig | PriorConfig) -> None:
    """Say that this folder is of a model of this shape.

    ConfigError where a run of another model lies there: without its shape none could use it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = _load(folder, _RECIPES) if latest(folder) is not None else None
    if known == shape:  # other processes of this run may be reading it
        return
    if known is not None:
        raise ConfigError(f"{folder} holds the run of another model: take another folder")
    values = {"family": family_of(shape), **asdict(shape)}
    (folder / NAME).write_text(json.dumps(values, indent=2) + "\n")


def load_codec(folder: Path) -> CodecConfig | None:
    """The codec that a folder is of, if it says so."""
    found: CodecConfig | None = _load(folder, CODEC_RECIPES)
    return found


def load_prior(folder: Path) -> PriorConfig | None:
    """The prior that a folder is of, if it says so."""
    found: PriorConfig | None = _load(folder, PRIOR_RECIPES)
    return found


def changed(shape: _Shape, pairs: Sequence[str]) -> _Shape:
    """A shape with other values: `ch=32`, `n_embed=[512,512]`, `body.n_layers=8`.

    Raises:
        ConfigError: naming the key that it doesn't have, or whose value can't be.
    """
    return checked(type(shape), with_values(asdict(shape), pairs), "--shape")


def with_values(values: dict[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """Nested values, some of them replaced in place as `changed` says it.

    Raises:
        ConfigError: naming the key whose outer ones aren't there, or what is no value.
    """
    for pair in pairs:
        path, _, text = pair.partition("=")
        *outer, key = path.split(".")
        place = values
        for name in outer:
            place = place[name] if isinstance(place.get(name), dict) else {}
        if not place:
            raise ConfigError(f"--shape: unknown key: {path}")
        try:
            place[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--shape: {path}: {text!r} is no value") from None
    return values


def _load(folder: Path, recipes: Mapping[str, CodecRecipe | PriorRecipe]) -> Any:
    """Any: a shape of the kind that the recipes are for."""
    path = run_of(folder) / NAME
    if not path.is_file():
        return None
    values = json_in(path)
    family = values.pop("family", "") if isinstance(values, dict) else ""
    if family not in recipes:
        raise ConfigError(f"{path} is of {family!r}, not of one of: {', '.join(recipes)}")
    return checked(recipes[family].config, values, str(path))
