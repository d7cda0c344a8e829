"""A recipe as a model's rows take it: what was given per level, for each code.

Knows neither jobs nor rows in flight.
"""

from __future__ import annotations

from models.configs.preset import Preset
from models.drawing.sampling import RowParams
from service.jobs import Recipe


def row_params(recipe: Recipe, candidate: int, preset: Preset) -> RowParams:
    """How one candidate of a recipe is drawn by a model."""
    given = RowParams(recipe.seed, candidate, recipe.temperature, recipe.top_k, recipe.top_p)
    return given.spread(preset.codes_per_level)


def default_params(preset: Preset, candidate: int) -> RowParams:
    """How one candidate of a request that names nothing is drawn; seed 0."""
    own = preset.sampling
    given = RowParams(0, candidate, own.temperature, own.top_k, own.top_p)
    return given.spread(preset.codes_per_level)
