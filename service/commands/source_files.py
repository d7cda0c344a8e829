"""A picture to begin with, as files on a command line: its arguments, and what is made of them.

What is kept of a picture, `sources` knows. Draws nothing.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from models.flags import share_or_none
from service.cli import CommandError
from service.client.protocol import Parameters
from service.errors import InvalidRequest
from service.sources.prepared import prepare
from service.sources.source import Fit, Source, sha256

_FITS: tuple[Fit, ...] = ("cover", "contain", "stretch")


def add_arguments(parser: ArgumentParser) -> None:
    """The picture, and how it is brought to the model's size."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a PNG, JPEG or WebP")
    parser.add_argument(
        "--fit", choices=_FITS, default="cover", help="to the model's size (default: cover)"
    )


def add_mask(parser: ArgumentParser) -> None:
    """What is drawn anew, by a mask."""
    parser.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help="transparent where to draw anew (default: where IMAGE is)",
    )
    parser.add_argument(
        "--no-blend",
        action="store_true",
        help="all of it as the model makes it (default: IMAGE's own pixels outside of the mask)",
    )


def add_shares(parser: ArgumentParser) -> None:
    """What is drawn anew, by how much."""
    shares = parser.add_mutually_exclusive_group()
    shares.add_argument(
        "--keep",
        type=share_or_none,
        metavar="K",
        help="share of the rows, from the top (default: 0.5)",
    )
    shares.add_argument(
        "--strength",
        type=share_or_none,
        metavar="S",
        help="draw this share of cells anew, by the seed (default: --keep)",
    )


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The files' bytes, and what is kept of them."""

    image: bytes
    mask: bytes | None
    fit: Fit
    keep: float | None = None
    strength: float | None = None
    blend: bool = True

    @classmethod
    def of(cls, args: Namespace, *, default_keep: float | None = None) -> Self:
        """What the command line names; `default_keep` where it does not say what to keep."""
        keep, strength = getattr(args, "keep", None), getattr(args, "strength", None)
        if keep is None and strength is None:
            keep = default_keep
        mask: Path | None = getattr(args, "mask", None)
        return cls(
            image=args.image.read_bytes(),
            mask=None if mask is None else mask.read_bytes(),
            fit=args.fit,
            keep=keep,
            strength=strength,
            blend=not getattr(args, "no_blend", False),
        )

    def prepared(self, size: tuple[int, int]) -> tuple[Source, bytes]:
        """What a recipe says of it, and the file to draw from; InvalidRequest for no picture."""
        source = Source.of_files(
            self.image,
            self.mask,
            fit=self.fit,
            keep=self.keep,
            strength=self.strength,
            blend=self.blend,
        )
        made = prepare(self.image, self.mask, source, size)
        return made.complete(source), made.data

    def parameters(self) -> Parameters:
        """The same for a service that draws."""
        said = Parameters(image=self.image, fit=self.fit, blend=self.blend)
        if self.mask is not None:
            said["mask"] = self.mask
        if self.keep is not None:
            said["keep"] = self.keep
        if self.strength is not None:
            said["strength"] = self.strength
        return said


def prepared_again(
    source: Source | None, image: Path | None, mask: Path | None, size: tuple[int, int]
) -> bytes | None:
    """The file to draw from, of the same files as then; None for a picture drawn from none.

    Raises:
        CommandError: one is missing, or is another one or one too many, or it was no picture.
    """
    if source is not None and source.is_codes:
        raise CommandError("it was made from codes, which /v1/images/decode takes", 2)
    was, had = (None, None) if source is None else (source.image_sha256, source.mask_sha256)
    drawn_from, masked_by = _same(image, was, "--image"), _same(mask, had, "--mask")
    if source is None:
        return None
    try:
        return prepare(drawn_from or b"", masked_by, source, size).data
    except InvalidRequest as error:
        raise CommandError(str(error), 2) from None


def _same(path: Path | None, wanted: str | None, flag: str) -> bytes | None:
    if wanted is None:
        if path is not None:
            raise CommandError(f"the picture was drawn from none: leave out {flag}", 2)
        return None
    if path is None:
        raise CommandError(f"the picture was drawn from another one: give it with {flag}", 2)
    data = path.read_bytes()
    if sha256(data) != wanted:
        raise CommandError(f"{path} is not the file that it was drawn from", 2)
    return data
