"""A picture's file as people see it: upright, in eight bits, on white where it is clear.

The service reads what its callers send in the same way, and by its colour profile besides. Knows no
sizes and no captions.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageOps

_WIDE = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_TO_EIGHT = 255 / 65535


def decoded(data: bytes) -> Image.Image:
    """RGB; whatever decoders raise where it is no picture, or a damaged one."""
    with Image.open(BytesIO(data)) as opened:
        opened.load()
        picture = _in_eight_bits(_upright(opened))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    seen = picture.convert("RGBA")  # what is clear has a colour, too, which nobody chose
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; one that can't be read says nothing."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # what is wrong with metadata is no fault of the picture
        return picture


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow has 16 bits for grey only, and would cut them off instead of scaling them."""
    if picture.mode not in _WIDE:
        return picture
    wide = picture.convert("I").convert("F")
    grey = wide.point(lambda level: level * _TO_EIGHT + 0.5).convert("L")
    grey.info.pop("transparency", None)  # a level of the 16 bits
    return grey
