"""Stage 1 without weights: a picture's codes are the values of its pixels, in drawing order.

For priors that draw pixels themselves. Knows orders and levels, no model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.raw_pixels import RawPixelsConfig, drawing_order


class RawPixels(nn.Module):
    """A `Codec` that loses nothing but what lies between two levels."""

    def __init__(self, config: RawPixelsConfig) -> None:
        super().__init__()
        self.config = config
        self.code_shape = config.code_shape
        self.order = torch.tensor(drawing_order(config.grid, config.block), device="cpu")

    def encode(self, pixels: Tensor) -> Tensor:
        """See Codec; a picture of another size is resampled, gray is the mean of the channels."""
        config = self.config
        if pixels.shape[-2:] != (config.height, config.width):
            pixels = F.interpolate(pixels, (config.height, config.width), mode="area")
        if config.channels == 1:
            pixels = pixels.mean(1, keepdim=True)
        return self.codes((pixels.clamp(0, 1) * (config.num_levels - 1)).round().long())

    def codes(self, values: Tensor) -> Tensor:
        """Levels [B, C, H, W] → codes [B, T, D]."""
        raster = values.permute(0, 2, 3, 1).reshape(len(values), *self.code_shape)
        return raster[:, self.order]

    def values(self, codes: Tensor) -> Tensor:
        """Codes [B, T, D] → levels [B, C, H, W]."""
        config = self.config
        raster = torch.empty_like(codes)
        raster[:, self.order] = codes
        shape = (len(codes), config.height, config.width, config.channels)
        return raster.view(shape).permute(0, 3, 1, 2)

    def pixels(self, codes: Tensor) -> Tensor:
        """See Codec; channels that are not given repeat the last one that is."""
        missing = self.code_shape[1] - codes.shape[-1]
        if missing:
            codes = torch.cat((codes, codes[..., -1:].expand(-1, -1, missing)), -1)
        values = self.values(codes).float() / (self.config.num_levels - 1)
        return values.expand(-1, 3, -1, -1)

    def prepare(self) -> None:
        """Nothing to lay out."""
