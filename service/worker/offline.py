"""A recipe without a queue: drawn on this machine, put into one file.

The same batch size, record and encoder as the worker's, so that a picture's bytes are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.configs.preset import Preset
from models.configs.views import View
from models.drawing.sampling import InvalidSamplingError, RowParams
from models.errors import is_out_of_memory
from models.known import KnownMakers
from models.pipeline import InvalidPromptError, Makers, Picture, Pipeline, to_bytes
from service.errors import InvalidRequest, StartRefused
from service.jobs import MAX_CANDIDATES, OutputFormat, Recipe
from service.worker.cpu_share import CpuShare
from service.worker.drawing.row_params import row_params
from service.worker.pictures import png
from service.worker.pictures.picture_makers import PictureMakers
from service.worker.sources.encoding import known_alone


def check(recipe: Recipe, preset: Preset) -> None:
    """Refuse what can't be drawn, before anything is loaded. InvalidRequest names the field."""
    most = recipe.num_candidates
    if not 1 <= most <= MAX_CANDIDATES:
        raise InvalidRequest(
            f"num_candidates: must be in 1..{MAX_CANDIDATES}, not {most}", param="num_candidates"
        )
    try:
        row_params(recipe, most - 1, preset).validate(preset.vocab_sizes)
    except InvalidSamplingError as error:
        raise InvalidRequest(str(error)) from None
    if recipe.enhance and preset.enhancement is None:
        raise InvalidRequest(f"enhance: {preset.name} has no enhancement", param="enhance")
    if not 1 <= recipe.n <= most:
        raise InvalidRequest(f"n: must be in 1..{most} (the candidates)", param="n")


def draw(  # noqa: PLR0913  all that a worker's stations know of a run, by name
    pipeline: Pipeline,
    recipe: Recipe,
    candidates: Sequence[int],
    *,
    num_rows: int,
    on_step: Callable[[int], None] | None = None,
    source: bytes | None = None,
    view: View | None = None,
) -> list[Picture]:
    """The candidates, best first; `source` is the prepared picture that the recipe begins with.

    With a `view` they are made as that shows them; how good they are is told by the whole ones.

    Raises:
        InvalidRequest: the model can't take the prompt.
        StartRefused: the memory does not hold the rows.
        UnsoundWeightsError: the weights are damaged.
    """
    params = [row_params(recipe, candidate, pipeline.preset) for candidate in candidates]
    # The worker's own makers, since a picture's last bit depends on who makes it.
    makers = PictureMakers(pipeline, CpuShare.whole(pipeline))
    known = None if source is None else known_alone(pipeline, recipe, source)
    finishing: Makers = makers if known is None else KnownMakers(makers, known)
    try:
        with makers.at_work():
            pictures = pipeline.generate(
                recipe.prompt,
                params,
                batch=pipeline.batch(num_rows),
                on_step=on_step,
                makers=finishing,
                forced=None if known is None else known.forced,
            )
            if view is not None:
                return _seen_by(view, pictures, finishing)
            return _enhanced(pictures, recipe, finishing) if recipe.enhance else pictures
    except (InvalidPromptError, InvalidSamplingError) as error:
        raise InvalidRequest(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise StartRefused(f"MINDALLE_WORKER__ROWS: no memory for {num_rows} rows") from None
        raise
    finally:
        makers.close()


def _seen_by(view: View, pictures: list[Picture], makers: Makers) -> list[Picture]:
    codes = torch.stack([picture.codes for picture in pictures])
    pixels = makers.pixels(codes[..., : view.depth]).cpu()
    return [replace(picture, pixels=own) for picture, own in zip(pictures, pixels, strict=True)]


def _enhanced(pictures: list[Picture], recipe: Recipe, makers: Makers) -> list[Picture]:
    """With the best, which the recipe keeps, made finer."""
    best, others = pictures[: recipe.n], pictures[recipe.n :]
    rows = [RowParams(recipe.seed, picture.candidate) for picture in best]
    finer = makers.enhanced(torch.stack([picture.codes for picture in best]), rows)
    kept = zip(best, finer.cpu(), strict=True)
    return [replace(picture, pixels=pixels) for picture, pixels in kept] + others


def encode(
    recipe: Recipe,
    pictures: Sequence[Picture],
    output_format: OutputFormat,
    *,
    has_prompt: bool,
    size: str | None = None,
    view: str | None = None,
) -> bytes:
    """The file that the service would give for one picture, resampled to `size` if that is given,
    of the `view` that its address would name; several are put on a sheet.
    """
    if len(pictures) == 1:
        (picture,) = pictures
        record = png.Record.of(
            recipe, picture.candidate, picture.score, has_prompt=has_prompt, size=size
        )
        return png.encode(_pixels(picture), output_format, replace(record, view=view), size)
    record = png.Record.of(recipe, None, None, has_prompt=has_prompt)
    return sheet([_pixels(p) for p in pictures], output_format, record)


def sheet(
    pictures: Sequence[NDArray[np.uint8]],
    output_format: OutputFormat,
    record: png.Record | None,
) -> bytes:
    """All pictures, [H, W, 3] each, in one file, as near to a square as they go."""
    columns = math.ceil(math.sqrt(len(pictures)))
    return png.encode(png.sheet(pictures, columns), output_format, record)


def _pixels(picture: Picture) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = to_bytes(picture.pixels[None])[0]
    return pixels
