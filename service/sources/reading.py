"""A file that a stranger sent → a picture, upright, in sRGB; or one clear error.

Nothing of the file is believed: its kind is looked up in its bytes, its size before anything is
decoded. Blocks for up to a second: call it off the event loop. Knows no model.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any

from PIL import Image as Pillow
from PIL import ImageCms

from models.picture_files import SIXTEEN_BITS, TO_EIGHT, in_eight_bits, upright
from service.errors import InvalidRequest
from service.sources.scans import has_more_scans

MAX_PIXELS = 16 * 1024 * 1024  # 64 MB in memory, and a few times that on the way
_FORMATS = ("PNG", "JPEG", "WEBP")
_MAX_SCANS = 64  # of a progressive JPEG; usual files have about ten, and each costs a whole pass
_REDUCIBLE = ("RGB", "RGBA", "L", "CMYK")
_NEEDED = ("exif", "icc_profile")
_DEPTH_AT = 24  # the byte of a PNG that says how many bits a level has
_SRGB = ImageCms.createProfile("sRGB")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Read:
    """A picture in RGB, or in RGBA where some of it may be transparent; `size` is the file's own.

    The picture may be a whole number of times smaller, where nobody needs it as large. Its alpha,
    None where all is opaque, never is: the mean of a small hole and what is around it is no hole.
    """

    picture: Pillow.Image
    size: tuple[int, int]
    alpha: Pillow.Image | None


def read(data: bytes, field: str, enough: int = MAX_PIXELS) -> Read:
    """The picture in a file. `enough`: pixels of a side, if there are several times as many.

    Raises:
        InvalidRequest: it is none that can be taken; `field` is named in it.
    """
    try:
        opened = _open(data, field)
        width, height = opened.size
        lying = _reduced(opened, enough)
        standing = upright(lying)
        is_turned = standing.size != lying.size
        size = (height, width) if is_turned else (width, height)
        return Read(_in_srgb(standing), size, _alpha(opened, lying.info))
    except InvalidRequest:
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):
        raise _too_large(field) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever comes to them: the file is at fault
        _log.debug("a picture can't be read", exc_info=error)
        raise InvalidRequest(
            f"{field} can't be read: it is no PNG, JPEG or WebP file, or is damaged.", param=field
        ) from None


def _open(data: bytes, field: str) -> Pillow.Image:
    picture = Pillow.open(io.BytesIO(data), formats=_FORMATS)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise _too_large(field)
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise InvalidRequest(f"{field} is animated: send a single picture.", param=field)
    if picture.format in ("JPEG", "MPO") and has_more_scans(data, _MAX_SCANS):
        raise InvalidRequest(f"{field} has more scans than any camera makes.", param=field)
    if picture.format == "PNG" and "transparency" in picture.info:
        picture.info["transparency"] = _as_levels(picture, data[_DEPTH_AT])
    return picture


def _as_levels(picture: Pillow.Image, depth: int) -> object:
    """The one colour of a PNG that is clear, as the picture's levels will be in eight bits.

    Pillow leaves it in the file's own bits. Of a palette it is an index, or alpha for each colour.
    """
    key = picture.info["transparency"]
    if picture.mode == "RGB":  # of sixteen bits Pillow keeps the upper eight
        return tuple(level >> (depth - 8) for level in key)
    if picture.mode == "L":
        return key * 255 // (2**depth - 1)
    return int(key * TO_EIGHT + 0.5) if picture.mode in SIXTEEN_BITS else key


def _reduced(picture: Pillow.Image, enough: int) -> Pillow.Image:
    """Decoded, and made smaller at once: what follows then costs next to nothing."""
    factor = min(side // enough for side in picture.size)
    if factor > 1 and picture.format == "JPEG":
        picture.draft(picture.mode, (enough, enough))  # decodes no more than that
    picture.load()
    factor = min(side // enough for side in picture.size)
    if factor < 2 or picture.mode not in _REDUCIBLE:
        return picture
    if "transparency" in picture.info:  # of one colour, and the mean of several is another
        picture = picture.convert("RGBA")
    told = {name: picture.info[name] for name in _NEEDED if name in picture.info}
    if picture.mode == "RGBA":  # by weight: what can't be seen has a colour, too
        small = picture.convert("RGBa").reduce(factor).convert("RGBA")
    else:
        small = picture.reduce(factor)
    small.info.update(told)
    return small


def _alpha(picture: Pillow.Image, told: dict[str | tuple[int, int], Any]) -> Pillow.Image | None:
    """Of a picture that is decoded, upright by what is told of it."""
    if "A" in picture.getbands():
        alpha = picture.getchannel("A")
    elif "transparency" in picture.info:
        alpha = in_eight_bits(picture).convert("RGBA").getchannel("A")
    else:
        return None
    alpha.info = dict(told)
    return upright(alpha)


def _too_large(field: str) -> InvalidRequest:
    return InvalidRequest(
        f"{field} has too many pixels: at most {MAX_PIXELS:,} can be taken, such as 4096x4096.",
        param=field,
    )


def _in_srgb(picture: Pillow.Image) -> Pillow.Image:
    """By its colour profile, where it has one that can be read; then without all metadata."""
    profile = picture.info.get("icc_profile")
    picture = in_eight_bits(picture)
    if profile and picture.mode in ("RGB", "RGBA", "CMYK", "L"):
        picture = _converted(picture, profile)
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    plain = picture.convert("RGBA" if has_alpha else "RGB")
    plain.info.clear()
    return plain


def _converted(picture: Pillow.Image, profile: bytes) -> Pillow.Image:
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    try:
        found = ImageCms.profileToProfile(picture, io.BytesIO(profile), _SRGB, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        _log.debug("a colour profile can't be used", exc_info=error)
        return picture
    if found is None:
        return picture
    if "transparency" in picture.info and mode == "RGB":
        found.putalpha(picture.convert("RGBA").getchannel("A"))
    return found
