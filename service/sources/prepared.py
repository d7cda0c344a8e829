"""A picture and a mask as they came → one small file of ours, of the model's own size.

The file is an RGBA PNG, transparent where the picture is to be drawn anew. It is what travels to a
worker, which trusts it. Knows no model but its size.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image as Pillow
from PIL import ImageOps, ImageStat

from service.errors import InvalidRequest
from service.sources.reading import read
from service.sources.source import Fit

_CLEAR = 128  # alpha below it is a hole
_ENOUGH = 4  # times the model's side, before it is brought to that with care
_LONGEST = 16  # times its height that a picture may be wide, and the other way round
_LANCZOS = Pillow.Resampling.LANCZOS


@dataclass(frozen=True, slots=True)
class Prepared:
    """The file, whether it has a hole, and the hashes of the files that it was made of."""

    data: bytes
    has_hole: bool
    image_sha256: str
    mask_sha256: str | None


def prepare(image: bytes, mask: bytes | None, fit: Fit, size: tuple[int, int]) -> Prepared:
    """Read and fit both; off the event loop. InvalidRequest names the file that can't be taken."""
    enough = _ENOUGH * max(size)
    found = read(image, "image", enough)
    _check_shape(found.size)
    picture = found.picture
    clear = _own_alpha(picture) if mask is None else _alpha_of(mask, found.size, enough)
    fitted = _opaque(_fitted(picture, fit, size, "white"), is_own_mask=mask is None)
    alpha = _fitted(clear, fit, size, 0).point(lambda level: 255 if level >= _CLEAR else 0)
    fitted.putalpha(alpha)
    file = io.BytesIO()
    fitted.save(file, "PNG", compress_level=1)
    return Prepared(
        file.getvalue(),
        has_hole=alpha.histogram()[0] > 0,
        image_sha256=sha256(image),
        mask_sha256=None if mask is None else sha256(mask),
    )


def sha256(data: bytes) -> str:
    """By which a file is known again."""
    return hashlib.sha256(data).hexdigest()


def _check_shape(size: tuple[int, int]) -> None:
    if max(size) > _LONGEST * min(size):
        raise InvalidRequest(
            f"image is {_named(size)}: one side can be at most {_LONGEST} times the other.",
            param="image",
        )


def _own_alpha(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode == "RGBA":
        return picture.getchannel("A")
    return Pillow.new("L", picture.size, 255)


def _alpha_of(mask: bytes, size: tuple[int, int], enough: int) -> Pillow.Image:
    found = read(mask, "mask", enough)
    if found.size != size:
        raise InvalidRequest(
            f"mask is {_named(found.size)} and image {_named(size)}: they must be of one size.",
            param="mask",
        )
    if found.picture.mode != "RGBA":
        raise InvalidRequest(
            "mask must be transparent where image is to be drawn anew: send a PNG or WebP with an "
            "alpha channel.",
            param="mask",
        )
    return found.picture.getchannel("A")


def _named(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _opaque(picture: Pillow.Image, *, is_own_mask: bool) -> Pillow.Image:
    """On white; in a hole of its own on its mean colour, so that what is beside it is no edge."""
    if picture.mode != "RGBA":
        return picture
    ground: tuple[int, ...] = (255, 255, 255, 255)
    alpha = picture.getchannel("A")
    if is_own_mask and alpha.getbbox() is not None:
        mean = ImageStat.Stat(picture.convert("RGB"), alpha).mean
        ground = (*map(round, mean), 255)
    return Pillow.alpha_composite(Pillow.new("RGBA", picture.size, ground), picture).convert("RGB")


def _fitted(
    picture: Pillow.Image, fit: Fit, size: tuple[int, int], around: str | int
) -> Pillow.Image:
    """Of this size: cut to cover it, whole with `around` beside it, or stretched."""
    if picture.size == size:
        return picture
    if fit == "cover":
        return ImageOps.fit(picture, size, _LANCZOS)
    if fit == "contain":
        return ImageOps.pad(picture, size, _LANCZOS, color=around)
    return picture.resize(size, _LANCZOS)
