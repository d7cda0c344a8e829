"""Stage 1 in VQ-VAE-2's form: coarse codes, and finer ones chosen in their light.

The HQ repository calls it `vqgan2` (after Razavi et al. 2019). Its encoder is minDALL-E's, so that
a codec of coarse codes can get finer ones. Unlike the HQ-VAE's, the finer codes are no residual:
the finer map and what the coarse codes decode to are quantised together. Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.configs.backbone import BackboneConfig
from models.configs.hq import MultiScaleConfig
from models.stage1.hq_vae import Quantised
from models.stage1.vqgan import Decoder, Encoder, Quantizer


class MultiScaleVQ(nn.Module):
    """A `Codec` of a coarse grid [B, h, w] and a finer one [B, 2h, 2w]."""

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__()
        self.config = config
        self.code_shape = config.code_shape
        width, is_concat = config.z_channels, config.join == "concat"
        self.encoder = Encoder(config)
        self.decoder_top = Decoder(_decoder_top(config))
        self.decoder = Decoder(_decoder(config))
        self.quantize_t = Quantizer(config.n_embed, config.embed_dim)
        self.quantize_b = Quantizer(config.n_embed, config.embed_dim)
        self.quant_conv_t = nn.Conv2d(width, config.embed_dim, 1)
        self.quant_conv_b = nn.Conv2d(width * (2 if is_concat else 1), config.embed_dim, 1)
        self.post_quant_conv_t = nn.Conv2d(config.embed_dim, width, 1)
        half = width // 2 if is_concat else width
        self.post_quant_conv_b = nn.Conv2d(config.embed_dim, half, 1)
        self.upsample_t = _upsample(config, half)

    def quantise(self, images: Tensor) -> list[Quantised]:
        """Images in [-1, 1] [B, 3, H, W] → what the coarse and the finer level chose."""
        features, finer = self.encoder.with_finer(images)
        top = _chosen(self.quantize_t, self.quant_conv_t(features))
        light = self.decoder_top(self.post_quant_conv_t(top.vectors))
        return [top, _chosen(self.quantize_b, self.quant_conv_b(self._joined(finer, light)))]

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels in [0, 1] [B, 3, H, W] → codes [B, T, 1], the coarse grid's before the finer."""
        return to_sequence([level.codes for level in self.quantise(pixels * 2 - 1)])

    def decode_vectors(self, top: Tensor, bottom: Tensor) -> Tensor:
        """Code vectors [B, C, h, w] and [B, C, 2h, 2w] → raw pixels around [-1, 1]."""
        joined = self._joined(self.upsample_t(top), self.post_quant_conv_b(bottom))
        raw: Tensor = self.decoder(joined)
        return raw

    def decode(self, top: Tensor, bottom: Tensor | None) -> Tensor:
        """Codes [B, h, w] and [B, 2h, 2w] → raw pixels; None for the finer ones is zero vectors."""
        coarse = self.quantize_t.lookup(top)
        if bottom is None:
            side = self.config.sides[1]
            return self.decode_vectors(coarse, coarse.new_zeros(*coarse.shape[:2], side, side))
        return self.decode_vectors(coarse, self.quantize_b.lookup(bottom))

    def pixels(self, codes: Tensor) -> Tensor:
        """Codes [B, T, 1] → pixels in [0, 1] [B, 3, H, W], float32; or the coarse grid's alone."""
        coarse, finer = self.config.sides
        top = codes[:, : coarse**2, 0].unflatten(1, (coarse, coarse))  # type: ignore[no-untyped-call]  # torch has no types here
        rest = codes[:, coarse**2 :, 0]
        bottom = rest.reshape(-1, finer, finer) if rest.shape[1] else None
        return (self.decode(top, bottom).float() * 0.5 + 0.5).clamp(0, 1)

    def prepare(self) -> None:
        """See Codec. Only the decoder is served."""
        self.decoder.to(memory_format=torch.channels_last)

    def _joined(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return torch.cat([coarse, fine], 1) if self.config.join == "concat" else coarse + fine


def to_sequence(grids: Sequence[Tensor]) -> Tensor:
    """Codes [B, h_i, w_i] of each grid → [B, T, 1], grid after grid, row by row."""
    return torch.cat([grid.flatten(1) for grid in grids], 1)[..., None]


def _chosen(quantizer: Quantizer, wanted: Tensor) -> Quantised:
    codes: Tensor = quantizer(wanted)
    return Quantised(wanted, quantizer.lookup(codes), codes)


def _decoder_top(config: MultiScaleConfig) -> BackboneConfig:
    """From the coarse codes to a map of the finer size, as wide as the encoder's there."""
    return replace(
        config,
        ch_mult=(1, config.ch_mult[-1]),
        out_ch=config.z_channels,
        resolution=2 * config.grid_size,
        patch_size=1,
        use_init_downsample=False,
    )


def _decoder(config: MultiScaleConfig) -> BackboneConfig:
    """From the finer size to pixels; it attends at that size, whatever the encoder does."""
    return replace(config, ch_mult=config.ch_mult[:-1], attn_resolutions=(2 * config.grid_size,))


def _upsample(config: MultiScaleConfig, width: int) -> nn.Module:
    if config.upsample == "deconv2d":
        return nn.ConvTranspose2d(config.embed_dim, width, 4, stride=2, padding=1)
    smooth = nn.Conv2d(config.embed_dim, width, 3, padding=1)
    return nn.Sequential(smooth, nn.UpsamplingNearest2d(scale_factor=2))


def official_name(name: str, config: MultiScaleConfig) -> str:
    """A tensor's name in the released files; they hold the codebooks' averages besides."""
    is_book = name.startswith("quantize_") and config.ema_update
    return name.removesuffix(".weight") if is_book else name
