"""Convolutions that see only what is above, or above and to the left: PixelCNN++'s.

Each has two ways: `forward` over whole maps [B, C, H, W], and a `matrix` for what a kernel sees
from a cell [..., k * C], for drawing. All are weight-normed; names are those of the PyTorch port.
Knows no network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = tuple[int, int]


class WeightNormed(nn.Module):
    """A weight as a direction and a length per entry of its first axis, and a bias."""

    def __init__(self, shape: tuple[int, ...], num_out: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(shape[0], *[1] * (len(shape) - 1)))
        self.weight_v = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(num_out))
        nn.init.normal_(self.weight_v, std=0.05)

    def weight(self) -> Tensor:
        """What it multiplies with."""
        length = torch.linalg.vector_norm(self.weight_v.flatten(1), dim=1)
        out: Tensor = self.weight_v * (self.weight_g / length.view_as(self.weight_g))
        return out


class ShiftedConv(nn.Module):
    """A convolution that looks up: "down" to both sides as well, "down-right" to the left."""

    def __init__(self, width: Kernel, kernel: Kernel, *, to_left: bool, stride: int = 1) -> None:
        super().__init__()
        num_in, num_out = width
        self.conv = WeightNormed((num_out, num_in, *kernel), num_out)
        self.stride = stride
        height, across = kernel
        left, right = (across - 1, 0) if to_left else (across // 2, across // 2)
        self.padding = (left, right, height - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H / stride, W / stride]."""
        padded = F.pad(x, self.padding)
        return F.conv2d(padded, self.conv.weight(), self.conv.bias, self.stride)

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Weight [C', k * C] and bias; a kernel's cells in their order, line by line."""
        return self.conv.weight().permute(0, 2, 3, 1).flatten(1), self.conv.bias


class ShiftedDeconv(nn.Module):
    """The transposed convolution of stride 2 that doubles a map, cropped as ShiftedConv looks."""

    def __init__(self, width: Kernel, kernel: Kernel, *, to_left: bool) -> None:
        super().__init__()
        num_in, num_out = width
        self.deconv = WeightNormed((num_in, num_out, *kernel), num_out)
        self.left = 0 if to_left else kernel[1] // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', 2 H, 2 W]."""
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        whole = F.conv_transpose2d(
            x, self.deconv.weight(), self.deconv.bias, stride=2, output_padding=1
        )
        return whole[:, :, :height, self.left : self.left + width]

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Weights [2 lines, 2 columns, C', k * C] and bias.

        By the parity of a cell of the doubled map, over what it comes from: the cell at half of its
        line and column, and where a kernel is three wide the one right of that.
        """
        weight = self.deconv.weight()  # [C, C', 2, 2 or 3]
        if self.left == 0:
            return weight.permute(2, 3, 1, 0), self.deconv.bias
        nothing = torch.zeros_like(weight[..., 1])  # [C, C', 2]
        even = torch.cat((weight[..., 1], nothing))
        odd = torch.cat((weight[..., 2], weight[..., 0]))
        return torch.stack((even, odd)).permute(3, 0, 2, 1), self.deconv.bias


class Nin(nn.Module):
    """A product at each place alone ("network in network")."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.lin_a = WeightNormed((num_out, num_in), num_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H, W]."""
        return F.conv2d(x, self.lin_a.weight()[..., None, None], self.lin_a.bias)

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Weight [C', C] and bias."""
        return self.lin_a.weight(), self.lin_a.bias


def concat_elu(x: Tensor, dim: int = 1) -> Tensor:
    """ELU of both signs, which doubles the channels."""
    return F.elu(torch.cat((x, -x), dim))
