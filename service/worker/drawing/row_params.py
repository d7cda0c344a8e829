"""How the rows of a job are drawn: from its recipe to the parameters of one candidate.

Knows no batch and no run.
"""

from __future__ import annotations

from models.configs import Preset
from models.drawing.sampling import RowParams
from service.jobs import Recipe


def row_params(recipe: Recipe, candidate: int, preset: Preset) -> RowParams:
    """How one candidate of a recipe is drawn by a model."""
    given = RowParams(recipe.seed, candidate, recipe.temperature, recipe.top_k, recipe.top_p)
    return given.spread(preset.levels)
