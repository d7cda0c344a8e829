"""What a recipe says of the picture that it begins with; the picture itself is no part of it.

And how a job with one is written down so that a worker that knows no sources refuses it. Knows no
picture formats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

Fit = Literal["cover", "contain", "stretch"]

# A worker of the release before sources would draw the prompt alone. It refuses this seed.
_NO_SEED = -1
_FIELD = "source"

DEFAULT_KEEP = 0.5  # of a picture of which nothing says what to draw anew


@dataclass(frozen=True, slots=True)
class Source:
    """A picture by the hash of its file, how it is fitted, and what is kept of it.

    `keep` is the first share of rows of codes, `strength` the share of cells that is drawn anew;
    with neither, all outside the hole is kept: the transparent part of the mask, or of the picture
    itself where no mask came. What `contain` leaves around a picture is no part of it: it is drawn
    where anything is. With `blend` the picture's own pixels are put back there. With
    `is_codes` the file holds codes instead of a picture, and all of them are kept.
    """

    image_sha256: str
    mask_sha256: str | None = None
    fit: Fit = "cover"
    keep: float | None = None
    strength: float | None = None
    blend: bool = True
    is_codes: bool = False

    @classmethod
    def of_files(
        cls,
        image: bytes,
        mask: bytes | None,
        *,
        fit: Fit = "cover",
        keep: float | None = None,
        strength: float | None = None,
        blend: bool = True,
    ) -> Self:
        """What is said of these files, before anybody looked into them (see `complete`)."""
        mask_sha256 = None if mask is None else sha256(mask)
        return cls(sha256(image), mask_sha256, fit, keep, strength, blend)

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Self | None:
        """The source that was written down, by this release or another one; None for none.

        Raises:
            TypeError: it is no source's fields, or lacks the picture.
        """
        if values is None:
            return None
        if not isinstance(values, Mapping):
            raise TypeError("this tells of no source")
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})

    @property
    def draws_share(self) -> bool:
        """Whether a share says what is drawn anew, and it is not nothing."""
        share = self.strength if self.keep is None else 1 - self.keep
        return share is not None and share > 0

    def complete(self, *, has_hole: bool) -> Self:
        """With a share to keep, where nothing says what is drawn anew: no hole, mask or share."""
        is_told = has_hole or self.mask_sha256 is not None or self.strength is not None
        if is_told or self.keep is not None:
            return self
        return replace(self, keep=DEFAULT_KEEP)


def sha256(data: bytes) -> str:
    """By which a file is known again."""
    return hashlib.sha256(data).hexdigest()


def guarded(values: Mapping[str, Any]) -> dict[str, Any]:
    """A job's flat values as they are written down: with a source, the seed is kept beside it."""
    written = dict(values)
    source = written.pop(_FIELD, None)
    if source is None:
        return written
    return written | {_FIELD: {**source, "seed": values["seed"]}, "seed": _NO_SEED}


def opened(values: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `guarded`."""
    source = values.get(_FIELD)
    if source is None:
        return dict(values)
    return {**values, "seed": source.get("seed", values.get("seed"))}
