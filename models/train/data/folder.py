"""One's own pictures as a data set: each with a text of captions, one a line.

In a folder `cat.png` has `cat.txt` beside it; `shards` has them in tar files. A picture without
captions trains without text. Pictures stay as they are: there is one kind of variant.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from models.lookalikes import visible
from models.train.data import epochs
from models.train.data.data_set import Variant
from models.train.data.decoding import decoded

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
HELD_OUT_EVERY = 20


def read_text(data: bytes) -> str:
    """Captions' bytes, without a mark that editors begin with; what is no UTF-8 is U+FFFD.

    The mark may be UTF-16's.
    """
    is_utf16 = data.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig", "replace")


class Files(Protocol):
    """Pictures and their texts as bytes, by number."""

    def __len__(self) -> int: ...
    def name(self, number: int) -> str: ...
    def size(self, number: int) -> int: ...  # of the picture, in bytes
    def group(self, number: int) -> str: ...  # what stands together: a folder's name
    def picture(self, number: int) -> bytes: ...
    def text(self, number: int) -> str: ...


class FolderFiles:
    """The files of a folder and the folders in it."""

    def __init__(self, folder: Path) -> None:
        files = visible(folder.rglob("*"), folder)
        self.paths = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not self.paths:
            raise FileNotFoundError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, number: int) -> str:
        return self.paths[number].name

    def size(self, number: int) -> int:
        try:
            return self.paths[number].stat().st_size
        except OSError:  # such as a link to nowhere, which training leaves out
            return 0

    def group(self, number: int) -> str:
        return str(self.paths[number].parent)

    def picture(self, number: int) -> bytes:
        return self.paths[number].read_bytes()

    def text(self, number: int) -> str:
        path = self.paths[number].with_suffix(".txt")
        return read_text(path.read_bytes()) if path.is_file() else ""


@dataclass(frozen=True, slots=True)
class Crops:
    """Of each picture training sees `number` random squares, or none but the middle.

    Each is as large as can be, or at least this share `least` of that in area; with `mirrors` half
    of them are mirrored.
    """

    number: int = 0
    least: float = 1.0
    mirrors: bool = False

    def cut(self, picture: Image.Image, size: int, rng: Random) -> Image.Image:
        """One of them, of `size` pixels."""
        along, across = rng.random(), rng.random()  # the longer side, and the other
        x, y = (along, across) if picture.width > picture.height else (across, along)
        side = min(picture.size) * rng.uniform(self.least, 1) ** 0.5
        left, top = (picture.width - side) * x, (picture.height - side) * y
        box = (left, top, left + side, top + side)
        square = picture.resize((size, size), Image.Resampling.BICUBIC, box)
        return ImageOps.mirror(square) if self.mirrors and rng.random() < 0.5 else square


class FolderSet:
    """Pictures of files as squares of `size`, by default their middle; every twentieth is held out.

    With `crops` another square stands in each epoch, as many as there are. In place of a picture
    that can't be read stands the next that can; `broken` has their numbers.
    """

    def __init__(self, files: Files, size: int, crops: Crops | None = None) -> None:
        self.files, self.size, self.crops = files, size, crops or Crops()
        self.broken: set[int] = set()
        indices = range(len(files))
        self.held_out = tuple(i for i in indices if i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1)
        self.images = tuple(i for i in indices if i % HELD_OUT_EVERY != HELD_OUT_EVERY - 1)

    def judged(self, number: int) -> Mapping[str, tuple[Variant, ...]]:
        """The first held-out pictures."""
        return {"val": tuple(map(Variant, self.held_out[:number]))}

    @property
    def shares(self) -> Mapping[str, float]:
        """All are of one kind."""
        return {"plain": 1.0}

    def kind(self, variant: Variant) -> str:
        """The only one."""
        return "plain"

    def variants(self) -> tuple[Variant, ...]:
        """Every training picture, in each of its squares."""
        squares = range(self.crops.number or 1)
        return tuple(self._square(image, number) for image in self.images for number in squares)

    def draw(self, rng: Random) -> Variant:
        """A random training picture."""
        return self._square(rng.choice(self.images), rng.randrange(self.crops.number or 1))

    def fingerprint(self) -> str:
        """See Ordered. Of the files' sizes: whatever they are called, and in shards, too."""
        sizes = [self.files.size(number) for number in range(len(self.files))]
        return hashlib.sha256(repr(sizes).encode()).hexdigest()

    def ordered(self, positions: range, seed: int) -> list[Variant]:
        """See Ordered: each training picture once an epoch."""
        found = zip(positions, epochs.at(positions, len(self.images), seed), strict=True)
        return [self._square(self.images[i], p // len(self.images)) for p, i in found]

    def render(self, variant: Variant) -> Tensor:
        """Its pixels in [-1, 1], [3, size, size]."""
        pixels = self._pixels(variant.image, variant.look)
        while pixels is None:
            pixels = self._pixels(self._instead_of(variant.image), variant.look)
        return pixels

    def caption(self, variant: Variant, rng: Random) -> str:
        """One of its captions, or none."""
        lines = self._captions(self._instead_of(variant.image))
        return rng.choice(lines) if lines else ""

    def title(self, variant: Variant) -> str:
        """Its file's name."""
        return self.files.name(variant.image)

    def meaning(self, variant: Variant) -> tuple[object, ...]:
        """What tells pictures apart: here every picture is its own."""
        return (variant.image,)

    def names(self) -> tuple[str, ...]:
        """One text per meaning."""
        return tuple("".join(self._captions(i)[:1]) for i in range(len(self.files)))

    def name_of(self, image: int) -> int:
        """Which of `names` an image has."""
        return image

    def vocabulary(self) -> tuple[str, ...]:
        """None: the captions are all there is."""
        return ()

    def _square(self, image: int, number: int) -> Variant:
        crops = self.crops.number
        return Variant(image, (str(number % crops),) if crops else ())

    def _pixels(self, image: int, look: tuple[str | None, ...]) -> Tensor | None:
        """None, and it is counted, where the picture is broken."""
        try:
            square = self._cut(decoded(self.files.picture(image)), image, look)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            if image not in self.broken:
                self.broken.add(image)
                why = "is no picture" if isinstance(error, UnidentifiedImageError) else str(error)
                print(f"skipped, {len(self.broken)} so far: {self.files.name(image)}: {why}")
            return None
        return torch.from_numpy(np.asarray(square, np.float32)).permute(2, 0, 1) / 127.5 - 1

    def _cut(self, picture: Image.Image, image: int, look: tuple[str | None, ...]) -> Image.Image:
        if not look:
            return ImageOps.fit(picture, (self.size, self.size))
        return self.crops.cut(picture, self.size, Random(f"{image}/{look[0]}"))

    def _instead_of(self, image: int) -> int:
        """The picture that stands at this number, never a held-out one for another.

        OSError where none can be read.
        """
        part = self.held_out if image % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else self.images
        first = bisect_left(part, image)
        others = (part[(first + step) % len(part)] for step in range(len(part)))
        for other in chain(others, self.images):
            if other not in self.broken:
                return other
        raise OSError("none of the pictures can be read")

    def _captions(self, image: int) -> tuple[str, ...]:
        lines = (line.strip() for line in self.files.text(image).splitlines())
        return tuple(line for line in lines if line)
