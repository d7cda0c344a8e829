"""Pixels → bytes. Knows no model and no file format."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def to_bytes(pixels: Tensor) -> NDArray[np.uint8]:
    """Pixels in 0..1 [n, 3, H, W] → 8-bit [n, H, W, 3], by truncation as the reference does."""
    truncated = (pixels.float() * 255).byte().permute(0, 2, 3, 1)
    out: NDArray[np.uint8] = truncated.contiguous().cpu().numpy()
    return out
