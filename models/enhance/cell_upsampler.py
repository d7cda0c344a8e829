"""The upsampler that draws the finer codes of all cells at once: a light prior and its codec.

Knows no sampling and no training losses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.enhance.cell_prior import CellPrior
from models.enhance.residual_codec import ResidualCodec
from models.stage1.hq_vae import in_cells, on_grid
from models.upsampler_configs import CellUpsamplerConfig


class CellUpsampler(nn.Module):
    """An `Upsampler`."""

    def __init__(self, config: CellUpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.code_shape, self.vocab_size = config.code_shape, config.vocab_size
        self.codec = ResidualCodec(config)
        self.prior = CellPrior(config)

    def logits(self, codes: Tensor) -> Tensor:
        """See Upsampler."""
        out: Tensor = self.prior(codes)
        return out

    def encode(self, pixels: Tensor, coarse: Tensor) -> Tensor:
        """See Upsampler."""
        return in_cells(self.codec.encode(pixels * 2 - 1, coarse * 2 - 1), self.config.side)

    def pixels(self, finer: Tensor, coarse: Tensor) -> Tensor:
        """See Upsampler."""
        raw = self.codec.decode(on_grid(finer, self.config.side), coarse * 2 - 1)
        return (raw.float() * 0.5 + 0.5).clamp(0, 1)

    def prepare(self) -> None:
        """See Upsampler. The encoder isn't served."""
        self.codec.decoder.to(memory_format=torch.channels_last)
