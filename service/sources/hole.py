"""An alpha channel as it came → where a picture of the model's size is to be drawn anew.

However small a hole is, each pixel of the model that it touches is one: a mean would lose it. All
in whole numbers, so that edges that fall on each other stay so. Knows no colours.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

from PIL import Image as Pillow
from PIL import ImageOps

from service.sources.source import Fit

KEPT, HOLE = 255, 0
AROUND = 1  # of a picture of which a share is kept: there its own hole says nothing
_CLEAR = 128  # alpha below it is a hole
_Span = tuple[int, int]


def has_clear(alpha: Pillow.Image | None) -> bool:
    """Whether any pixel is a hole."""
    return alpha is not None and any(alpha.histogram()[:_CLEAR])


def hole_of(
    alpha: Pillow.Image | None, shape: tuple[int, int], fit: Fit, size: tuple[int, int], around: int
) -> Pillow.Image:
    """An alpha channel of this size: KEPT, HOLE, and `around` the picture.

    Args:
        alpha: of the file's own size; None where all of it is opaque.
        shape: width and height of the picture that is fitted.
        fit: how.
        size: width and height of what is made.
        around: what stands where the picture doesn't reach.
    """
    box = _box(shape, size) if fit == "contain" else (0, 0, *size)
    inner = box[2] - box[0], box[3] - box[1]
    made = Pillow.new("L", size, around)
    kept = Pillow.new("L", inner, KEPT)
    made.paste(kept if alpha is None or not has_clear(alpha) else _touched(alpha, fit, inner), box)
    return made


def _box(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a whole picture of this shape comes to lie; Pillow, which fits it, is asked."""
    placed = ImageOps.pad(Pillow.new("L", shape, 255), size, Pillow.Resampling.NEAREST, color=0)
    return placed.getbbox() or (0, 0, *size)


def _touched(alpha: Pillow.Image, fit: Fit, size: tuple[int, int]) -> Pillow.Image:
    clear = alpha.point(lambda level: 255 if level < _CLEAR else 0)
    across, down = _spans(alpha.size, fit, size)
    rows = bytearray()
    for top, bottom in down:
        columns, _ = clear.crop((0, top, clear.width, bottom)).getprojection()
        rows += bytes(HOLE if any(columns[left:right]) else KEPT for left, right in across)
    return Pillow.frombytes("L", size, bytes(rows))


def _spans(
    shape: tuple[int, int], fit: Fit, size: tuple[int, int]
) -> tuple[list[_Span], list[_Span]]:
    """The file's columns and rows that each column and row of the model has a part of."""
    steps = [Fraction(given, wanted) for given, wanted in zip(shape, size, strict=True)]
    if fit == "cover":
        steps = [min(steps)] * 2
    across, down = (
        _cut(given, wanted, step) for given, wanted, step in zip(shape, size, steps, strict=True)
    )
    return across, down


def _cut(given: int, wanted: int, step: Fraction) -> list[_Span]:
    """Steps from the middle of what is given."""
    first = (given - wanted * step) / 2
    return [(floor(first + at * step), ceil(first + (at + 1) * step)) for at in range(wanted)]
