"""What a coarse picture lacks ↔ finer codes.

The codes are of the difference between a picture and what its coarse codes make of it, so that they
needn't say again what those say; the decoder adds its correction to the coarse picture. It sees
that picture besides: where vectors are zeros, it adds what can be guessed. Any codec may have made
the coarse picture. Knows no coarse codes and no training losses.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.upsamplers import CellUpsamplerConfig
from models.stage1.vqgan import Decoder, Encoder, Quantizer


class ResidualCodec(nn.Module):
    """Images and coarse images in [-1, 1] [B, 3, H, W] ↔ a finer grid of codes [B, h, w]."""

    def __init__(self, config: CellUpsamplerConfig) -> None:
        super().__init__()
        backbone = config.codec
        self.fold = backbone.resolution // config.finer_side  # pixels per side of a finer code
        self.encoder = Encoder(replace(backbone, in_channels=2 * backbone.in_channels))
        self.quant_conv = nn.Conv2d(backbone.z_channels, config.embed_dim, 1)
        self.quantize = Quantizer(config.n_embed, config.embed_dim)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, backbone.z_channels, 1)
        folded = backbone.in_channels * self.fold**2
        self.coarse_conv = nn.Conv2d(folded, backbone.z_channels, 3, padding=1)
        self.decoder = Decoder(backbone)

    def features(self, images: Tensor, coarse: Tensor) -> Tensor:
        """What is quantised, [B, embed_dim, h, w]."""
        out: Tensor = self.quant_conv(self.encoder(torch.cat((images - coarse, coarse), 1)))
        return out

    def encode(self, images: Tensor, coarse: Tensor) -> Tensor:
        """→ finer codes [B, h, w]."""
        codes: Tensor = self.quantize(self.features(images, coarse))
        return codes

    def decode_vectors(self, vectors: Tensor, coarse: Tensor) -> Tensor:
        """Vectors [B, embed_dim, h, w] → raw pixels around [-1, 1], not clamped."""
        light = self.coarse_conv(F.pixel_unshuffle(coarse, self.fold))
        correction: Tensor = self.decoder(self.post_quant_conv(vectors) + light)
        return coarse + correction

    def decode(self, codes: Tensor, coarse: Tensor) -> Tensor:
        """Finer codes [B, h, w] → raw pixels around [-1, 1], not clamped."""
        return self.decode_vectors(self.quantize.lookup(codes), coarse)
