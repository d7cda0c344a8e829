"""The upsampler that draws the finer codes of all cells at once: a light prior and its codec.

Knows no sampling and no training losses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.configs.upsamplers import CellUpsamplerConfig
from models.enhance.cell_prior import CellPrior
from models.enhance.residual_codec import ResidualCodec
from models.stage1.hq_vae import in_cells, on_grid


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
        return _pixels(self.codec.decode(on_grid(finer, self.config.side), coarse * 2 - 1))

    def mean_pixels(self, chances: Tensor, coarse: Tensor) -> Tensor:
        """See Upsampler."""
        means = chances @ self.codec.quantize.embedding.weight  # [B, T, K, C]
        grids = on_grid(means.permute(0, 3, 1, 2).flatten(0, 1), self.config.side)
        vectors = grids.view(len(means), means.shape[-1], *grids.shape[1:])  # [B, C, h, w]
        return _pixels(self.codec.decode_vectors(vectors, coarse * 2 - 1))

    def prepare(self) -> None:
        """See Upsampler. The encoder isn't served."""
        self.codec.decoder.to(memory_format=torch.channels_last)


def _pixels(raw: Tensor) -> Tensor:
    """Around [-1, 1] → in 0..1."""
    return (raw.float() * 0.5 + 0.5).clamp(0, 1)
