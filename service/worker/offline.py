"""One job without a queue: drawn on this machine, put into one file.

The same batch size, record and encoder as the worker's, so that a picture's bytes are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.configs import Preset
from models.drawing.sampling import InvalidSamplingError
from models.pipeline import InvalidPromptError, Picture, Pipeline, to_bytes
from service.cli import CommandError
from service.jobs import Job, OutputFormat
from service.worker.drawing.cpu_share import CpuShare
from service.worker.drawing.engine import row_params
from service.worker.pictures import png
from service.worker.pictures.picture_makers import PictureMakers


def check(job: Job, preset: Preset) -> None:
    """Refuse what can't be drawn, before anything is loaded. CommandError names the field."""
    if job.num_candidates < 1:
        raise CommandError(f"num_candidates: must be at least 1, not {job.num_candidates}", 2)
    try:
        row_params(job, job.num_candidates - 1).validate(preset.vocab_sizes)
    except InvalidSamplingError as error:
        raise CommandError(str(error), 2) from None
    if not 1 <= job.n <= job.num_candidates:
        raise CommandError(f"n: must be in 1..{job.num_candidates} (the candidates)", 2)


def draw(
    pipeline: Pipeline,
    job: Job,
    candidates: Sequence[int],
    *,
    num_rows: int,
    on_step: Callable[[int], None] | None = None,
) -> list[Picture]:
    """The candidates, best first. CommandError when the model can't take the prompt."""
    params = [row_params(job, candidate) for candidate in candidates]
    # The worker's own makers, since a picture's last bit depends on who makes it.
    makers = PictureMakers(pipeline, CpuShare.whole(pipeline))
    try:
        with makers.at_work():
            return pipeline.generate(
                job.prompt,
                params,
                batch=pipeline.batch(num_rows),
                on_step=on_step,
                makers=makers,
            )
    except (InvalidPromptError, InvalidSamplingError) as error:
        raise CommandError(str(error), 2) from None
    finally:
        makers.close()


def one_picture(job: Job, picture: Picture, output_format: OutputFormat) -> bytes:
    """The file that the service would give."""
    record = png.Record.of(job, picture.candidate, picture.score)
    return png.encode(pixels_of(picture), output_format, record)


def sheet(job: Job, pictures: Sequence[NDArray[np.uint8]], output_format: OutputFormat) -> bytes:
    """All pictures in one file, as near to a square as they go."""
    columns = math.ceil(math.sqrt(len(pictures)))
    return png.encode(png.sheet(pictures, columns), output_format, png.Record.of(job, None, None))


def pixels_of(picture: Picture) -> NDArray[np.uint8]:
    """[H, W, 3]."""
    pixels: NDArray[np.uint8] = to_bytes(picture.pixels[None])[0]
    return pixels
