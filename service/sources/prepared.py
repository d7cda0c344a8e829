"""A picture and a mask as they came → one small file of ours, of the model's own size.

The file is an RGBA PNG, transparent where the picture is to be drawn anew, and nearly so around a
picture of which a share is kept. It is what travels to a worker, which trusts it. Knows no model
but its size.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image as Pillow
from PIL import ImageOps, ImageStat

from service.errors import InvalidRequest
from service.sources.hole import AROUND, HOLE, has_clear, hole_of
from service.sources.reading import Read, read
from service.sources.source import Fit, Source

_ENOUGH = 4  # times the model's side, before it is brought to that with care
_LONGEST = 16  # times its height that a picture may be wide, and the other way round
_LANCZOS = Pillow.Resampling.LANCZOS


@dataclass(frozen=True, slots=True)
class Prepared:
    """The file, and whether it has a hole or lost all of it when it was fitted."""

    data: bytes
    has_hole: bool
    is_hole_cut_off: bool

    def complete(self, source: Source) -> Source:
        """What a recipe says of the source that it was made of.

        InvalidRequest where nothing is left of the hole that says what is drawn anew.
        """
        if self.is_hole_cut_off and source.keep is None and source.strength is None:
            field, other = (
                ("image", "keep") if source.mask_sha256 is None else ("mask", "another mask")
            )
            raise InvalidRequest(
                f"{field} is transparent only where it is cut off to cover the model's size, and "
                f"says nowhere else what to draw anew: send fit=contain, fit=stretch, or {other}.",
                param=field,
            )
        return source.complete(has_hole=self.has_hole)


def prepare(image: bytes, mask: bytes | None, source: Source, size: tuple[int, int]) -> Prepared:
    """Read both and fit them as `source` says; off the event loop.

    InvalidRequest names the file that can't be taken.
    """
    fit, enough = source.fit, _ENOUGH * max(size)
    found = read(image, "image", enough)
    _check_shape(found.size)
    clear = (found if mask is None else _read_mask(mask, found.size, enough)).alpha
    fitted = _opaque(_fitted(found.picture, fit, size), is_own_mask=mask is None)
    around = AROUND if source.draws_share else HOLE  # a share tells of it, too
    alpha = hole_of(clear, found.picture.size, fit, size, around)
    fitted.putalpha(alpha)
    has_hole = alpha.histogram()[HOLE] > 0
    file = io.BytesIO()
    fitted.save(file, "PNG", compress_level=1)
    return Prepared(
        file.getvalue(),
        has_hole=has_hole,
        is_hole_cut_off=has_clear(clear) and not has_hole,
    )


def _check_shape(size: tuple[int, int]) -> None:
    if max(size) > _LONGEST * min(size):
        raise InvalidRequest(
            f"image is {_named(size)}: one side can be at most {_LONGEST} times the other.",
            param="image",
        )


def _read_mask(mask: bytes, size: tuple[int, int], enough: int) -> Read:
    found = read(mask, "mask", enough)
    if found.size != size:
        raise InvalidRequest(
            f"mask is {_named(found.size)} and image {_named(size)}: they must be of one size.",
            param="mask",
        )
    if found.alpha is None:
        raise InvalidRequest(
            "mask must be transparent where image is to be drawn anew: send a PNG or WebP with an "
            "alpha channel.",
            param="mask",
        )
    return found


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


def _fitted(picture: Pillow.Image, fit: Fit, size: tuple[int, int]) -> Pillow.Image:
    """Of this size: cut to cover it, whole with white around it, or stretched."""
    if picture.size == size:
        return picture
    if fit == "cover":
        return ImageOps.fit(picture, size, _LANCZOS)
    if fit == "contain":
        return ImageOps.pad(picture, size, _LANCZOS, color="white")
    return picture.resize(size, _LANCZOS)
