"""The body of a request that may begin with a picture: its fields beside those of every request.

Pictures come as base64 or as a `data:` URL, and as files in a form; nothing is ever fetched.
Whether a file is a picture at all, `sources` finds out.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from service.answers.schemas import IGNORED, ImageRequest, Text
from service.sources.source import Fit, sha256

FILE_FIELDS = frozenset({"image", "mask"})
# Fields whose text in a form stays text; every other one is JSON there: 4, true, 0.5.
TEXT_FIELDS = frozenset(
    {
        "prompt", "model", "size", "response_format", "output_format", "priority", "quality",
        "style", "background", "moderation", "complexity", "user", "safety_identifier", "fit",
        "input_fidelity", "image", "mask",
    }
)  # fmt: skip
_DATA_URL = re.compile(  # RFC 2397: of any case, perhaps with a charset, a file's name
    r"data:[\w.+-]*/?[\w.+-]*(;[^;,]*)*;base64,", re.ASCII | re.IGNORECASE
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII)


def _bytes_of(value: object) -> object:
    if not isinstance(value, str):
        return value
    if _ADDRESS.match(value[:40].lower()):
        raise ValueError("addresses are not fetched")
    head = _DATA_URL.match(value[:200])
    text = value[head.end() :] if head else value
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is no base64") from None


PictureFile = Annotated[
    bytes,
    BeforeValidator(_bytes_of),
    PlainSerializer(sha256),  # for the digest
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
_PICTURE = "A PNG, JPEG or WebP: a file in a form, base64 or a `data:` URL in JSON."
_MASK = (
    "A picture of the same size, transparent where `image` is to be drawn anew. Without one, "
    "transparent parts of `image` itself are."
)


class SourceRequest(ImageRequest):
    """What to draw, how, and perhaps the picture to begin with."""

    image: PictureFile | None = Field(None, description=f"The picture to begin with. {_PICTURE}")
    mask: PictureFile | None = Field(None, description=_MASK)
    fit: Fit | None = Field(
        "cover",
        description="How a picture of another shape or size is brought to the model's: cut to "
        "`cover` it, whole (`contain`; what is around it is drawn), or `stretch`ed.",
    )
    keep: float | None = Field(
        None,
        ge=0,
        le=1,
        strict=True,
        description="Share of the rows of codes that is kept, from the top; the rest is drawn. "
        "0.5 where nothing else says what to draw anew.",
    )
    strength: float | None = Field(
        None,
        ge=0,
        le=1,
        strict=True,
        description="Share of the cells that is drawn anew, chosen by the seed; instead of `keep`.",
    )
    blend: bool | None = Field(
        True,
        strict=True,
        description="Put the picture's own pixels back outside of what is drawn anew, with a seam "
        "of 3 pixels inside its edge. false: all of it as the model makes it.",
    )
    input_fidelity: Text | None = Field(None, description=IGNORED)

    @property
    def has_picture(self) -> bool:
        """Whether it begins with one."""
        return self.image is not None


class CodesRequest(SourceRequest):
    """A picture by all of its codes, [T][D]: nothing is drawn. A route makes it, no caller."""

    codes: tuple[tuple[int, ...], ...]

    @property
    def has_picture(self) -> bool:
        """The codes are one."""
        return True


class PictureRequest(SourceRequest):
    """What to draw, how, and the picture to begin with."""

    image: PictureFile = Field(description=f"The picture to begin with. {_PICTURE}")
