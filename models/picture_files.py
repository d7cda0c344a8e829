"""What is alike in reading anybody's picture: turned upright, and in eight bits.

Service and training both read so. Knows no torch, and not whom a file is from.
"""

from __future__ import annotations

import logging

from PIL import Image, ImageOps

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
TO_EIGHT = 1 / 257

_log = logging.getLogger(__name__)


def upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; one that can't be read says nothing."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # what is wrong with metadata is no fault of the picture
        _log.debug("an orientation can't be read", exc_info=error)
        return picture


def in_eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow has 16 bits for grey only, and would cut them off instead of scaling them."""
    if picture.mode not in SIXTEEN_BITS:
        return picture
    wide = picture.convert("I").convert("F")
    return wide.point(lambda level: level * TO_EIGHT + 0.5).convert("L")
