"""A prepared source → what is known of a picture, by a recipe. Knows no queue and no threads."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image as Pillow

from models.drawing.forced import Forced
from models.known import Kept, Known, NoGridError, known_of
from models.pipeline import Pipeline
from service.errors import InvalidRequest
from service.jobs import Recipe
from service.sources.hole import AROUND, HOLE
from service.worker.cpu_share import use_threads


def known_for(pipeline: Pipeline, recipe: Recipe, data: bytes) -> Known:
    """What the recipe keeps of its source, whose prepared file is `data`.

    Raises:
        InvalidRequest: it was prepared for a model of another size, or this one takes none.
        ValueError: the recipe has no source.
    """
    source = recipe.source
    if source is None:
        raise ValueError("the recipe begins with no picture")
    if source.is_codes:
        return _known_codes(pipeline, data)
    with Pillow.open(io.BytesIO(data)) as picture:
        levels = torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1)  # [4, H, W]
    width, height = pipeline.preset.size
    if levels.shape[1:] != (height, width):
        raise InvalidRequest(f"image was not fitted to {width}x{height}", param="image")
    kept = Kept(source.keep, source.strength, recipe.seed, source.blend)
    try:
        hole = levels[3] == (HOLE if kept.has_hole else AROUND)
        return known_of(pipeline, levels[:3], hole, kept)
    except NoGridError:
        raise InvalidRequest(f"{recipe.model} can't begin with a picture", param="image") from None


def _known_codes(pipeline: Pipeline, data: bytes) -> Known:
    try:
        codes = torch.tensor(json.loads(data), dtype=torch.int64)
        forced = Forced.of(pipeline.stage2, codes)
    except (ValueError, TypeError):  # lists of several lengths, too
        preset = pipeline.preset
        raise InvalidRequest(
            f"codes must be {preset.num_steps} lists of {preset.depth} codes, each below "
            f"{', '.join(map(str, preset.vocab_sizes))}.",
            param="codes",
        ) from None
    width, height = pipeline.preset.size
    return Known(forced, torch.zeros(3, height, width), None)


def known_alone(pipeline: Pipeline, recipe: Recipe, data: bytes) -> Known:
    """The same for whoever has threads of its own: in one thread, as the worker's station does it.

    A sum that threads divide among them has other last bits, which can be another code.
    """
    one = 1 if pipeline.options.device.type == "cpu" else torch.get_num_threads()
    with ThreadPoolExecutor(1, initializer=use_threads, initargs=(one,)) as thread:
        return thread.submit(known_for, pipeline, recipe, data).result()
