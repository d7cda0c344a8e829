"""PixelCNN++ (Salimans et al. 2017): two streams over three resolutions, a mixture for each pixel.

The u stream sees the lines above, the ul stream also what is left in the pixel's own; shifts keep
the pixel itself out. Module names are those of the PyTorch port. Runs over whole pictures; drawing
them is `pixel_cnn_pp`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.pixels import PixelCNNPPConfig
from models.stage2.dmol import log_likelihood, mixture_of, scaled
from models.stage2.shifted_conv import Nin, ShiftedConv, ShiftedDeconv, concat_elu

DOWN, DOWN_RIGHT = (2, 3), (2, 2)  # kernels of the u and of the ul stream


class GatedResnet(nn.Module):
    """A residual block whose second half gates the first; `side` is the width of what joins in."""

    def __init__(self, config: PixelCNNPPConfig, side: int, *, to_left: bool) -> None:
        super().__init__()
        width, kernel = config.nr_filters, DOWN_RIGHT if to_left else DOWN
        self.conv_input = ShiftedConv((2 * width, width), kernel, to_left=to_left)
        self.nin_skip = Nin(2 * side, width) if side else None
        self.dropout = nn.Dropout2d(config.dropout)
        self.conv_out = ShiftedConv((2 * width, 2 * width), kernel, to_left=to_left)
        self.hw: nn.Parameter | None = None
        if config.n_classes:
            self.hw = nn.Parameter(torch.empty(config.n_classes, 2 * width))
            nn.init.normal_(self.hw, std=0.05)

    def forward(self, x: Tensor, side: Tensor | None, classes: Tensor | None) -> Tensor:
        """[B, F, H, W] → the same; classes [B] where the model has some."""
        inner = self.conv_input(concat_elu(x))
        if self.nin_skip is not None and side is not None:
            inner = inner + self.nin_skip(concat_elu(side))
        gates = self.conv_out(self.dropout(concat_elu(inner)))
        if self.hw is not None and classes is not None:
            gates = gates + self.hw[classes][..., None, None]
        value, gate = gates.chunk(2, 1)
        out: Tensor = x + value * gate.sigmoid()
        return out


class Scale(nn.Module):
    """The blocks of one resolution on the way up or down."""

    def __init__(self, config: PixelCNNPPConfig, num_blocks: int, sides: tuple[int, int]) -> None:
        super().__init__()
        blocks = range(num_blocks)
        self.u_stream = nn.ModuleList(GatedResnet(config, sides[0], to_left=False) for _ in blocks)
        self.ul_stream = nn.ModuleList(GatedResnet(config, sides[1], to_left=True) for _ in blocks)

    def pairs(self) -> Iterator[tuple[GatedResnet, GatedResnet]]:
        """Of both streams, one after the other."""
        pairs = zip(self.u_stream, self.ul_stream, strict=True)
        return cast(Iterator[tuple[GatedResnet, GatedResnet]], pairs)


class PixelCNNPPNetwork(nn.Module):
    """From pixels to the numbers of each pixel's mixture."""

    def __init__(self, config: PixelCNNPPConfig) -> None:
        super().__init__()
        self.config = config
        width, last = config.nr_filters, config.scales - 1
        seen = (config.input_channels + 1, width)
        self.u_init = ShiftedConv(seen, (2, 3), to_left=False)
        self.ul_init = nn.ModuleList(
            (
                ShiftedConv(seen, (1, 3), to_left=False),
                ShiftedConv(seen, (2, 1), to_left=True),
            )
        )
        count = config.nr_resnet
        self.up_layers = nn.ModuleList(
            Scale(config, count, (0, width)) for _ in range(config.scales)
        )
        self.down_layers = nn.ModuleList(
            Scale(config, count + (scale > 0), (width, 2 * width)) for scale in range(config.scales)
        )
        both = (width, width)
        for name, to_left in (("u", False), ("ul", True)):
            kernel = DOWN_RIGHT if to_left else DOWN
            down = [ShiftedConv(both, kernel, to_left=to_left, stride=2) for _ in range(last)]
            up = [ShiftedDeconv(both, kernel, to_left=to_left) for _ in range(last)]
            setattr(self, f"downsize_{name}_stream", nn.ModuleList(down))
            setattr(self, f"upsize_{name}_stream", nn.ModuleList(up))
        self.nin_out = Nin(width, config.num_parameters_per_pixel)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.u_init.conv.bias.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and features."""
        return self.u_init.conv.bias.dtype

    def forward(self, x: Tensor, classes: Tensor | None = None) -> Tensor:
        """Pixels [B, C, H, W] in -1..1 and classes [B] → the head's numbers [B, 10 K, H, W]."""
        _, ul, _ = self.streams(*self.start(x), classes)
        out: Tensor = self.nin_out(F.elu(ul))
        return out

    def start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams' first features [B, F, H, W]."""
        seen = torch.cat((x, torch.ones_like(x[:, :1])), 1)  # tells the picture from its border
        above, left = self.ul_init
        u = _shifted(self.u_init(seen), 2)
        return u, _shifted(above(seen), 2) + _shifted(left(seen), 3)

    def streams(
        self, u: Tensor, ul: Tensor, classes: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """The last features u and ul, and all those of the way up."""
        kept = [(u, ul)]
        for number, scale in enumerate(cast(list[Scale], self.up_layers)):
            if number:
                u = cast(nn.ModuleList, self.downsize_u_stream)[number - 1](u)
                ul = cast(nn.ModuleList, self.downsize_ul_stream)[number - 1](ul)
                kept.append((u, ul))
            for block, block_left in scale.pairs():
                u = block(u, None, classes)
                ul = block_left(ul, u, classes)
                kept.append((u, ul))
        above = list(kept)
        u, ul = kept.pop()
        for number, scale in enumerate(cast(list[Scale], self.down_layers)):
            if number:
                u = cast(nn.ModuleList, self.upsize_u_stream)[number - 1](u)
                ul = cast(nn.ModuleList, self.upsize_ul_stream)[number - 1](ul)
            for block, block_left in scale.pairs():
                side, side_left = kept.pop()
                u = block(u, side, classes)
                ul = block_left(ul, torch.cat((u, side_left), 1), classes)
        return u, ul, above

    def log_likelihood(self, values: Tensor, classes: Tensor | None = None) -> Tensor:
        """Of pictures' bytes [B, C, H, W], in nats per pixel [B, H, W]."""
        x = scaled(values, self.dtype)
        params = self(x, classes).permute(0, 2, 3, 1)
        mixture = mixture_of(params, self.config.input_channels)
        return log_likelihood(mixture, x.permute(0, 2, 3, 1))


def _shifted(x: Tensor, dim: int) -> Tensor:
    """Moved on by one along an axis, with zeros first."""
    return torch.cat(
        (torch.zeros_like(x.narrow(dim, 0, 1)), x.narrow(dim, 0, x.shape[dim] - 1)), dim
    )
