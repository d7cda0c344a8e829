"""Picture files for tests, made as they are needed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow


def noise(size: tuple[int, int] = (32, 32), seed: int = 0) -> NDArray[np.uint8]:
    """Coarse noise [H, W, 3]: every pixel tells whether it is the one that was sent."""
    width, height = size
    made = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return made.astype(np.uint8)


def file_of(picture: Pillow.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """An image file."""
    image = picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    """An image file's pixels, [H, W, 3]."""
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def mask_of(hole: NDArray[np.bool_]) -> bytes:
    """A mask that is transparent in the hole [H, W]."""
    alpha = np.where(hole, 0, 255).astype(np.uint8)
    return file_of(np.dstack([np.zeros((*hole.shape, 3), np.uint8), alpha]))


def square_hole(size: int = 32, start: int = 8, stop: int = 20) -> NDArray[np.bool_]:
    """A hole of some rows and columns of a square."""
    hole = np.zeros((size, size), np.bool_)
    hole[start:stop, start:stop] = True
    return hole
