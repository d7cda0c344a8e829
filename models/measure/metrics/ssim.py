"""Structural similarity of two pictures (Wang et al. 2004), with the paper's window and constants.

A Gaussian window of 11 pixels with a deviation of 1.5, over places where it lies inside; each
channel alone, then their mean.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE, _DEVIATION = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2  # for pixels in 0..1


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Of pictures in 0..1 [n, C, H, W], at least 11 pixels each way: [n] in -1..1."""
    products = torch.stack((one, other, one * one, other * other, one * other))
    mean, other_mean, square, other_square, product = _smoothed(products.flatten(0, 2)).view(
        5, *one.shape[:2], one.shape[2] - _SIDE + 1, one.shape[3] - _SIDE + 1
    )
    variance, other_variance = square - mean**2, other_square - other_mean**2
    likeness = (2 * mean * other_mean + _C1) * (2 * (product - mean * other_mean) + _C2)
    scale = (mean**2 + other_mean**2 + _C1) * (variance + other_variance + _C2)
    return torch.mean(likeness / scale, dim=(1, 2, 3))


def _smoothed(planes: Tensor) -> Tensor:
    """Planes [k, H, W] → [k, H - 10, W - 10]."""
    at = torch.arange(_SIDE, dtype=planes.dtype, device=planes.device) - _SIDE // 2
    window = torch.exp(-(at**2) / (2 * _DEVIATION**2))
    window = (window / window.sum()).view(1, 1, -1)
    rows = F.conv2d(planes[:, None], window[..., None, :])
    return F.conv2d(rows, window[..., None])[:, 0]
