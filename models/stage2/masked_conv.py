"""Masked convolutions with channel groups (van den Oord et al. 2016): PixelCNN's.

Features belong to the picture's channels in turn (red, green, blue, red, ...). A kernel sees what
is above and to the left, and of its own cell the groups before its own (type A) or up to it (B).
Knows no network.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.stage2.channel_groups import Grouped

MaskType = Literal["A", "B"]


def conv_mask(kind: MaskType, shape: tuple[int, int, int, int], channels: int) -> Tensor:
    """What a weight (out, in, height, width) may keep, bool; the kernel's sides are odd."""
    num_out, num_in, height, width = shape
    mask = torch.ones(shape, dtype=torch.bool)
    middle, centre = height // 2, width // 2
    mask[:, :, middle + 1 :] = False
    mask[:, :, middle, centre + 1 :] = False
    mask[:, :, middle, centre] = group_mask(kind, num_out, num_in, channels)
    return mask


def group_mask(kind: MaskType, num_out: int, num_in: int, channels: int) -> Tensor:
    """Which inputs of its own cell each output sees, bool [out, in]."""
    out, into = torch.arange(num_out)[:, None] % channels, torch.arange(num_in) % channels
    return into < out if kind == "A" else into <= out


class MaskedConv(nn.Conv2d):
    """A convolution of the size kept, whose weight counts as far as its mask goes.

    `kernel` is its height and width; of a single line it sees what is to the left alone.
    """

    def __init__(
        self, kind: MaskType, width: tuple[int, int], kernel: tuple[int, int], channels: int
    ) -> None:
        super().__init__(*width, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
        self._mask = (kind, channels)

    def masked(self) -> Tensor:
        """The weight that counts."""
        num_out, num_in, height, width = self.weight.shape
        kind, channels = self._mask
        mask = conv_mask(kind, (num_out, num_in, height, width), channels)
        return self.weight * mask.to(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H, W]."""
        return F.conv2d(x, self.masked(), self.bias, padding=self.padding)

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Over what lies before a cell [C', k * C], over the cell itself [C', C], and the bias.

        The k cells are the whole lines above, then those to the left, line by line.
        """
        assert self.bias is not None
        weight = self.masked().permute(0, 2, 3, 1)  # [C', height, width, C]
        _, height, width, _ = weight.shape
        middle = height // 2 * width + width // 2
        cells = weight.flatten(1, 2)
        return cells[:, :middle].flatten(1), cells[:, middle], self.bias

    def grouped(self, channels: int) -> Grouped:
        """Of a cell's own features alone, to be computed a group at a time."""
        _, own, bias = self.matrices()
        return Grouped(own, bias, channels)


def cells_before(kernel: tuple[int, int], device: torch.device) -> Tensor:
    """Lines and columns [k, 2] int64 of the cells that `matrices` begins with; maybe none."""
    height, width = kernel[0] // 2, kernel[1] // 2
    above = [(i, j) for i in range(-height, 0) for j in range(-width, width + 1)]
    left = [(0, j) for j in range(-width, 0)]
    return torch.tensor(above + left, dtype=torch.int64, device=device).view(-1, 2)
