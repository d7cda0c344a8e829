"""Pixels → image file (PNG, JPEG or WebP) that says inside how it was made, and reading that back.

The same pixels and the same record give the same bytes. Knows no model and no queue.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from service.jobs import Job, OutputFormat

KEYWORD = "mindalle"  # of the PNG's text chunk; JPEG and WebP carry the same JSON in EXIF
_IMAGE_DESCRIPTION = 0x010E  # EXIF tag, ASCII
_EXIF_LIMIT = 60_000  # a JPEG segment ends at 65,533 bytes
_QUALITY = 95


class NoRecordError(ValueError):
    """The file does not say how it was made."""


@dataclass(frozen=True, slots=True)
class Record:
    """How a picture was made. `candidate` is None for a sheet of several.

    `prompt` is None where the model takes none, or where `has_prompt` is false: then it was left
    out on purpose, or did not fit.
    """

    model: str
    prompt: str | int | None
    has_prompt: bool
    seed: int
    candidate: int | None
    score: float | None
    n: int
    num_candidates: int
    top_k: int | None
    top_p: float | None
    temperature: float

    @classmethod
    def of(cls, job: Job, candidate: int | None, score: float | None) -> Self:
        """The record of one candidate of a job."""
        return cls(
            model=job.model,
            prompt=job.prompt if job.embed_prompt else None,
            has_prompt=job.embed_prompt,
            seed=job.seed,
            candidate=candidate,
            score=None if score is None else round(score, 6),
            n=job.n,
            num_candidates=job.num_candidates,
            top_k=job.top_k,
            top_p=job.top_p,
            temperature=job.temperature,
        )

    def to_json(self) -> str:
        """ASCII, with the fields in one order."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The reverse. NoRecordError for anything else."""
        try:
            raw: dict[str, Any] = json.loads(text)
            return cls(**raw)
        except (TypeError, ValueError):
            raise NoRecordError("the file's record of how it was made is damaged") from None


def encode(
    pixels: NDArray[np.uint8], output_format: OutputFormat, record: Record | None = None
) -> bytes:
    """An image file.

    Args:
        pixels: [H, W, 3].
        output_format: png, jpeg or webp.
        record: goes into the file; a prompt that EXIF can't hold is left out.
    """
    file = io.BytesIO()
    image = Pillow.fromarray(pixels, "RGB")
    if output_format == "png":
        image.save(file, "PNG", pnginfo=_text_chunk(record))
    else:
        image.save(file, output_format.upper(), quality=_QUALITY, exif=_exif(record))
    return file.getvalue()


def _text_chunk(record: Record | None) -> PngInfo:
    info = PngInfo()
    if record is not None:
        info.add_text(KEYWORD, record.to_json())
    return info


def _exif(record: Record | None) -> bytes:
    if record is None:
        return b""
    text = record.to_json()
    if len(text) > _EXIF_LIMIT:
        text = replace(record, prompt=None, has_prompt=False).to_json()
    exif = Pillow.Exif()
    exif[_IMAGE_DESCRIPTION] = text
    return exif.tobytes()


def read(path: Path) -> Record:
    """The record inside a file.

    Raises:
        NoRecordError: not an image, or not one of ours.
        OSError: the file can't be read.
    """
    data = path.read_bytes()
    try:
        with Pillow.open(io.BytesIO(data)) as image:
            image.load()
            text = image.info.get(KEYWORD) or image.getexif().get(_IMAGE_DESCRIPTION)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise NoRecordError(f"{path} is not an image that can be read") from None
    if not isinstance(text, str):
        raise NoRecordError(f"{path} does not say how it was made")
    return Record.from_json(text)


def sheet(pictures: Sequence[NDArray[np.uint8]], num_columns: int) -> NDArray[np.uint8]:
    """Pictures of one size side by side, row by row, from the top left; the rest stays white."""
    height, width, _ = pictures[0].shape
    num_lines = -(-len(pictures) // num_columns)
    out = np.full((num_lines * height, num_columns * width, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // num_columns * height, index % num_columns * width
        out[top : top + height, left : left + width] = picture
    return out
