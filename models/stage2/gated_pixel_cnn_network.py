"""The gated PixelCNN's blocks over whole pictures: a vertical and a horizontal stack.

Knows no picture's levels and no drawing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.pixels import GatedPixelCNNConfig
from models.stage2.masked_conv import MaskedConv


class CausalBlock(nn.Module):
    """The first one: its horizontal stack doesn't see the pixel itself.

    Nor does its last product let a group see itself, as the authors have it: no channel sees the
    one just before it, and of a gray picture nothing to the left is seen at all.
    """

    def __init__(self, config: GatedPixelCNNConfig) -> None:
        super().__init__()
        width, channels, k = config.hidden_fmaps, config.channels, config.causal_ksize
        self.v_conv = LinesAbove(channels, 2 * width, k)
        self.v_fc = nn.Conv2d(channels, 2 * width, 1)
        self.v_to_h = nn.Conv2d(2 * width, 2 * width, 1)
        self.h_conv = MaskedConv("A", (channels, 2 * width), (1, k), channels)
        self.h_fc = MaskedConv("A", (width, width), (1, 1), channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [B, C, H, W] → vertical and horizontal features [B, F, H, W]."""
        vertical = self.v_conv(x) + self.v_fc(x)
        gates = self.h_conv(x) + self.v_to_h(self.v_conv.above(vertical))
        return gate(vertical), self.h_fc(gate(gates))


class GatedBlock(nn.Module):
    """Each one after it."""

    def __init__(self, config: GatedPixelCNNConfig) -> None:
        super().__init__()
        width, channels, k = config.hidden_fmaps, config.channels, config.hidden_ksize
        self.v_conv = LinesAbove(width, 2 * width, k)
        self.v_fc = nn.Conv2d(width, 2 * width, 1)
        self.v_to_h = MaskedConv("B", (2 * width, 2 * width), (1, 1), channels)
        self.h_conv = MaskedConv("B", (width, 2 * width), (1, k), channels)
        self.h_fc = MaskedConv("B", (width, width), (1, 1), channels)
        self.h_skip = MaskedConv("B", (width, width), (1, 1), channels)
        self.label_embedding = nn.Embedding(config.n_classes, 2 * width)

    def forward(self, v: Tensor, h: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both stacks [B, F, H, W] → the same, and what the block adds to the head's input."""
        of_class = self.label_embedding(classes)[..., None, None]
        vertical = self.v_conv(v) + self.v_fc(v) + of_class
        above = self.v_to_h(self.v_conv.above(vertical))
        gated = gate(self.h_conv(h) + above + of_class)
        return gate(vertical) + v, self.h_fc(gated) + h, self.h_skip(gated)


class LinesAbove(nn.Conv2d):
    """A convolution that sees lines above and its own, on both sides."""

    def __init__(self, num_in: int, num_out: int, kernel: int) -> None:
        super().__init__(num_in, num_out, (kernel // 2 + 1, kernel))
        self.radius = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H, W]."""
        r = self.radius
        return F.conv2d(F.pad(x, (r, r, r, 0)), self.weight, self.bias)

    def above(self, vertical: Tensor) -> Tensor:
        """What the vertical stack made of the line above each; for the first its bias alone."""
        assert self.bias is not None
        first = self.bias.view(1, -1, 1, 1).expand_as(vertical[:, :, :1])
        return torch.cat((first, vertical[:, :, :-1]), 2)

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Weight [C', k * C] over a kernel's cells line by line, and bias."""
        assert self.bias is not None
        return self.weight.permute(0, 2, 3, 1).flatten(1), self.bias


def gate(x: Tensor, dim: int = 1) -> Tensor:
    """tanh of the first half times sigmoid of the second."""
    value, opened = x.chunk(2, dim)
    return value.tanh() * opened.sigmoid()
