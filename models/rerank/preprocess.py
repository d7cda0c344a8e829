"""Pixels → what a network that judges pictures takes: cut to a square, scaled, in chunks.

The steps are those that CLIP's and torchvision's authors publish, to the byte: 8-bit truncation,
PIL's resize of the shorter side, centre crop. Knows no network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.pictures import to_bytes

# Kernels may sum differently for other batch sizes, so pictures always go through in chunks of
# this many, the last one padded: a score then does not depend on how many others are scored.
CHUNK = 8


@dataclass(frozen=True, slots=True)
class Preprocess:
    """The shorter side becomes `short_side` pixels (`size` when None), then `size`² are kept."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    short_side: int | None = None
    resample: Image.Resampling = Image.Resampling.BICUBIC

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels in 0..1 [n, 3, H, W], any device → float32 [n, 3, size, size] on the CPU."""
        bytes_ = to_bytes(pixels)
        cropped = torch.from_numpy(np.stack([self._crop(picture) for picture in bytes_]))
        scaled = cropped.permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (self.mean, self.std))
        return (scaled - mean) / std

    def _crop(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = Image.fromarray(picture)
        short, wanted = min(image.size), self.short_side or self.size
        width, height = (int(wanted * side / short) for side in image.size)
        image = image.resize((width, height), self.resample)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def through(self, network: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """What the network makes of at least one picture [n, 3, H, W], as float32 [n, …]."""
        out = []
        for start in range(0, len(pixels), CHUNK):
            images = self(pixels[start : start + CHUNK])
            padded = F.pad(images, (0, 0, 0, 0, 0, 0, 0, CHUNK - len(images)))
            out.append(network(padded).float()[: len(images)])
        return torch.cat(out)
