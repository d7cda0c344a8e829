"""Pixels → image file (PNG, JPEG or WebP) that says inside how it was made, and reading that back.

The same pixels and the same record give the same bytes. Knows no model and no queue.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from pydantic import TypeAdapter

from service.jobs import MAX_CANDIDATES, OutputFormat, Recipe, known_fields

KEYWORD = "mindalle"  # of the PNG's text chunk; JPEG and WebP carry the same JSON in EXIF
_IMAGE_DESCRIPTION = 0x010E  # EXIF tag, ASCII
_EXIF_LIMIT = 60_000  # a JPEG segment ends at 65,533 bytes
_QUALITY = 95
_SIZE = re.compile(r"[1-9][0-9]{0,3}x[1-9][0-9]{0,3}")


class NoRecordError(ValueError):
    """The file does not say how it was made."""


# First in the JSON, in this order; then comes the rest of the recipe. The bytes depend on it.
_HEAD = ("model", "prompt", "has_prompt", "seed", "candidate", "score")


@dataclass(frozen=True, slots=True)
class Record:
    """How a picture was made. `candidate` is None for a sheet of several.

    Where `has_prompt` is false, the recipe's prompt was left out on purpose, or did not fit. `size`
    is that of a file whose pixels were resampled; other files don't say theirs. `view` names the
    coarser look at the picture that the file is, as its address does ("level=top").
    """

    recipe: Recipe
    candidate: int | None = None
    score: float | None = None
    has_prompt: bool = True
    size: str | None = None
    view: str | None = None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        candidate: int | None,
        score: float | None,
        *,
        has_prompt: bool,
        size: str | None = None,
    ) -> Self:
        """The record of one candidate of a recipe."""
        record = cls(recipe, candidate, None if score is None else round(score, 6), size=size)
        return record if has_prompt else record.without_prompt()

    def without_prompt(self) -> Self:
        """The same, for a file that shall not tell it."""
        return replace(self, recipe=replace(self.recipe, prompt=None), has_prompt=False)

    def to_json(self) -> str:
        """ASCII and flat, with the fields in one order."""
        values = asdict(self)
        values |= values.pop("recipe")
        for name in ("size", "view", "source", "enhance"):
            if values[name] is None:
                del values[name]
        return json.dumps({name: values.pop(name) for name in _HEAD} | values)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The record of `to_json`, of this release or another one.

        Raises:
            NoRecordError: it does not say which model and which seed, or a value is of no type
                that ours has, or asks for more than a job can.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            if "seed" not in raw:
                raise ValueError("nothing can be made again without it")
            recipe = Recipe.of(raw)
            told = {"has_prompt": "prompt" in raw} | known_fields(cls, raw)
            if not _SIZE.fullmatch(told.get("size") or "1x1"):
                raise ValueError("a size that no file of ours has")
            if recipe.num_candidates > MAX_CANDIDATES:
                raise ValueError("more than a job can have")
            record = cls(**told | {"recipe": recipe})
            _check_types(record)
        except (TypeError, ValueError, RecursionError):
            raise NoRecordError("the file's record of how it was made is damaged") from None
        return record


_TYPES = TypeAdapter(Record)


def _check_types(record: Record) -> None:
    """ValueError for a value that no record of ours has."""
    values = asdict(record)
    if isinstance(record.recipe.prompt, str):
        values["recipe"]["prompt"] = ""  # pydantic refuses half characters
    _TYPES.validate_json(json.dumps(values), strict=True)


def encode(
    pixels: NDArray[np.uint8],
    output_format: OutputFormat,
    record: Record | None = None,
    size: str | None = None,
) -> bytes:
    """An image file.

    Args:
        pixels: [H, W, 3].
        output_format: png, jpeg or webp.
        record: goes into the file; a prompt that EXIF can't hold is left out.
        size: width and height as "512x512", where the pixels shall be resampled to them.
    """
    file = io.BytesIO()
    image = Pillow.fromarray(pixels, "RGB")
    if size is not None:
        width, height = map(int, size.split("x"))
        image = image.resize((width, height), Pillow.Resampling.LANCZOS)
    if output_format == "png":
        image.save(file, "PNG", pnginfo=_text_chunk(record))
    else:
        image.save(file, output_format.upper(), quality=_QUALITY, exif=_exif(record))
    return file.getvalue()


def native_size(pixels: NDArray[np.uint8]) -> str:
    """Width and height of pixels, [H, W, 3], as a job names them."""
    height, width, _ = pixels.shape
    return f"{width}x{height}"


def resampled_size(wanted: str, pixels: NDArray[np.uint8]) -> str | None:
    """The size that a job wants of pixels, [H, W, 3], that have another one; else None."""
    return None if wanted in ("auto", native_size(pixels)) else wanted


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
        text = record.without_prompt().to_json()
    exif = Pillow.Exif()
    exif[_IMAGE_DESCRIPTION] = text
    return exif.tobytes()


def read(path: Path) -> Record:
    """The record inside a file.

    Raises:
        NoRecordError: not an image, or not one of ours.
        OSError: the file can't be read.
    """
    return record_of(path.read_bytes(), str(path))


def record_of(data: bytes, name: str) -> Record:
    """The same of a file's bytes; NoRecordError calls it by that name."""
    try:
        with Pillow.open(io.BytesIO(data)) as image:
            image.load()
            text = image.info.get(KEYWORD) or image.getexif().get(_IMAGE_DESCRIPTION)
    except (
        UnidentifiedImageError,
        Pillow.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
    ):
        raise NoRecordError(f"{name} is not an image that can be read") from None
    if not isinstance(text, str):
        raise NoRecordError(f"{name} does not say how it was made")
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
