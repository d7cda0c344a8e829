"""One's own pictures as a data set: a folder with, beside each picture, a text file of captions.

`cat.png` has `cat.txt` with one caption a line; a picture without captions trains without text.
Its pictures stay as they are: there is one kind of variant.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from models.lookalikes import visible
from models.train.data.data_set import Variant

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
HELD_OUT_EVERY = 20


class FolderSet:
    """The pictures of a folder, cropped to squares of `size`; every twentieth is held out."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        files = visible(folder.rglob("*"), folder)
        self.paths = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not self.paths:
            raise FileNotFoundError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
        self._captions = tuple(_captions(path) for path in self.paths)
        indices = range(len(self.paths))
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
        """Every training picture, once."""
        return tuple(Variant(image) for image in self.images)

    def draw(self, rng: Random) -> Variant:
        """A random training picture."""
        return Variant(rng.choice(self.images))

    def render(self, variant: Variant) -> Tensor:
        """Its pixels in [-1, 1], [3, size, size], centre-cropped."""
        with Image.open(self.paths[variant.image]) as image:
            square = ImageOps.fit(image.convert("RGB"), (self.size, self.size))
        return torch.from_numpy(np.asarray(square, np.float32)).permute(2, 0, 1) / 127.5 - 1

    def caption(self, variant: Variant, rng: Random) -> str:
        """One of its captions, or none."""
        lines = self._captions[variant.image]
        return rng.choice(lines) if lines else ""

    def title(self, variant: Variant) -> str:
        """Its file's name."""
        return self.paths[variant.image].name

    def meaning(self, variant: Variant) -> tuple[object, ...]:
        """What tells pictures apart: here every picture is its own."""
        return (variant.image,)

    def names(self) -> tuple[str, ...]:
        """One text per meaning."""
        return tuple(lines[0] if lines else "" for lines in self._captions)

    def name_of(self, image: int) -> int:
        """Which of `names` an image has."""
        return image

    def vocabulary(self) -> tuple[str, ...]:
        """None: the captions are all there is."""
        return ()


def _captions(path: Path) -> tuple[str, ...]:
    text = path.with_suffix(".txt")
    lines = text.read_text("utf-8").splitlines() if text.is_file() else []
    return tuple(line.strip() for line in lines if line.strip())
