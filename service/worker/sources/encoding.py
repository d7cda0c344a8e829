"""A prepared source → what is known of a picture, by a recipe. Knows no queue and no threads."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image as Pillow

from models.known import Kept, Known, known_of
from models.pipeline import Pipeline
from service.errors import InvalidRequest
from service.jobs import Recipe


def known_for(pipeline: Pipeline, recipe: Recipe, data: bytes) -> Known:
    """What the recipe keeps of its source, whose prepared file is `data`.

    Raises:
        InvalidRequest: it was prepared for a model of another size.
    """
    source = recipe.source
    if source is None:
        raise ValueError("the recipe begins with no picture")
    with Pillow.open(io.BytesIO(data)) as picture:
        levels = torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1)  # [4, H, W]
    width, height = pipeline.preset.size
    if levels.shape[1:] != (height, width):
        raise InvalidRequest(f"image was not fitted to {width}x{height}", param="image")
    kept = Kept(source.keep, source.strength, recipe.seed, source.blend)
    return known_of(pipeline, levels[:3], levels[3] == 0, kept)
