"""A picture's file as people see it: upright, in eight bits, on white where it is clear.

The service reads what its callers send in the same way, and by its colour profile besides. Knows no
sizes and no captions.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from models.picture_files import SIXTEEN_BITS, in_eight_bits, upright


def decoded(data: bytes) -> Image.Image:
    """RGB; whatever decoders raise where it is no picture, or a damaged one."""
    with Image.open(BytesIO(data)) as opened:
        opened.load()
        picture = in_eight_bits(upright(opened))
        if opened.mode in SIXTEEN_BITS:  # what is clear is told as a level of the 16 bits
            picture.info.pop("transparency", None)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    seen = picture.convert("RGBA")  # what is clear has a colour, too, which nobody chose
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
