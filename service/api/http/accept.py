"""What kind of answer a client would like best, by its Accept header, and whether it takes that
compressed, by Accept-Encoding (RFC 9110, 12.5).
"""

from __future__ import annotations

from dataclasses import dataclass

from service.jobs import OutputFormat

MEDIA_TYPES: dict[OutputFormat, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
_FORMATS = {media_type: name for name, media_type in MEDIA_TYPES.items()}
_JSON_TYPES = frozenset({"application/json", "application/*", "*/*"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """JSON, or the picture itself: in `output_format`, or in any format when that is None."""

    is_picture: bool
    output_format: OutputFormat | None = None


JSON = Wanted(is_picture=False)


def wanted(accept: str) -> Wanted:
    """The first of the most wanted kinds that can be made; JSON when there is none."""
    ranges = [_weighted(part) for part in accept.split(",")]
    for media_type, quality in sorted(ranges, key=lambda item: -item[1]):
        if quality > 0 and media_type in _JSON_TYPES:
            return JSON
        if quality > 0 and (media_type in _FORMATS or media_type == "image/*"):
            return Wanted(is_picture=True, output_format=_FORMATS.get(media_type))
    return JSON


def takes_gzip(accept_encoding: str) -> bool:
    """Whether it is named, and not with a weight of nothing."""
    codings = (_weighted(part) for part in accept_encoding.split(","))
    return any(coding == "gzip" and quality > 0 for coding, quality in codings)


def _weighted(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key == "q":
            return name, _quality(value)
    return name, 1.0


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
