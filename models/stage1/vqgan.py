"""Stage 1: the VQGAN codec, pixels ↔ codes (Esser et al. 2021, as minDALL-E's checkpoints have it).

Module names are the checkpoint's, so its state dict loads as it is. Knows nothing of prompts, of
training losses, or of where weights come from. Facts that are easy to get wrong: GroupNorm eps is
1e-6, down-sampling pads right and bottom only, attention has one head with scale C**-0.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.backbone import BackboneConfig
from models.configs.vqgan import VQGANConfig
from models.stage1.orders import raster_places


def normalisation(channels: int, config: BackboneConfig) -> nn.Module:
    """The one normalisation of this model, unless it has none."""
    if config.norm == "none":
        return nn.Identity()
    return nn.GroupNorm(config.norm_groups, channels, eps=1e-6)


class ResBlock(nn.Module):
    """Two normalised 3×3 convolutions beside a shortcut."""

    def __init__(self, in_ch: int, out_ch: int, config: BackboneConfig) -> None:
        super().__init__()
        self.norm1 = normalisation(in_ch, config)
        self.conv1 = nn.Conv2d(in_ch, out_ch, 3, padding=1)
        self.norm2 = normalisation(out_ch, config)
        self.dropout = nn.Dropout(config.pdrop)
        self.conv2 = nn.Conv2d(out_ch, out_ch, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(in_ch, out_ch, 1) if in_ch != out_ch else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return torch.add(self.nin_shortcut(x), h)


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions of the feature map."""

    def __init__(self, channels: int, config: BackboneConfig) -> None:
        super().__init__()
        self.norm = normalisation(channels, config)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (conv(normed).flatten(2).mT for conv in (self.q, self.k, self.v))  # [B, hw, C]
        h = F.scaled_dot_product_attention(q, k, v)
        return torch.add(x, self.proj_out(h.mT.reshape(x.shape)))


class Downsample(nn.Module):
    """Halve height and width: zeros at the right and bottom (one row, one column), stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return h


class Upsample(nn.Module):
    """Double height and width by repeating pixels, then smooth by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return h


class Level(nn.Module):
    """One resolution: blocks, each followed by attention where this resolution has it."""

    downsample: nn.Module
    upsample: nn.Module

    def __init__(self, channels: list[int], has_attn: bool, config: BackboneConfig) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.block = nn.ModuleList(ResBlock(a, b, config) for a, b in pairs)
        self.attn = nn.ModuleList(AttnBlock(b, config) for _, b in pairs if has_attn)

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[index](x)
        return x


class Mid(nn.Module):
    """The bottom of encoder and decoder: block, attention (unless it is off), block."""

    def __init__(self, channels: int, config: BackboneConfig) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels, config)
        self.attn_1 = AttnBlock(channels, config) if config.use_attn else nn.Identity()
        self.block_2 = ResBlock(channels, channels, config)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return h


def _has_attn(side: int, config: BackboneConfig) -> bool:
    return config.use_attn and side in config.attn_resolutions


def _mid(channels: int, config: BackboneConfig) -> nn.Module:
    return Mid(channels, config) if config.use_mid_block else nn.Identity()


def _conv_in(config: BackboneConfig) -> nn.Conv2d:
    channels = config.in_channels * config.patch_size**2
    if config.use_init_downsample:
        return nn.Conv2d(channels, config.ch, 4, stride=2, padding=1)
    return nn.Conv2d(channels, config.ch, 3, padding=1)


def _downsample(channels: int, config: BackboneConfig) -> nn.Module:
    return Downsample(channels) if config.resamp_with_conv else nn.AvgPool2d(2)


def _upsample(channels: int, config: BackboneConfig) -> nn.Module:
    return Upsample(channels) if config.resamp_with_conv else nn.Upsample(scale_factor=2.0)


class Encoder(nn.Module):
    """Pixels in [-1, 1] [B, 3, H, W] → features [B, z_channels, h, w]."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        widths = [config.ch * mult for mult in config.ch_mult]
        self.patch_size = config.patch_size
        self.conv_in = _conv_in(config)
        self.down = nn.ModuleList()
        for level, (before, width) in enumerate(zip([config.ch, *widths], widths, strict=False)):
            channels = [before] + [width] * config.num_res_blocks
            # As in the reference: an initial down-sampling is left out of this count.
            side = config.resolution // config.patch_size >> level
            stage = Level(channels, _has_attn(side, config), config)
            if level < len(widths) - 1:
                stage.downsample = _downsample(width, config)
            self.down.append(stage)
        self.mid = _mid(widths[-1], config)
        self.norm_out = normalisation(widths[-1], config)
        self.conv_out = nn.Conv2d(widths[-1], config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.with_finer(x)[0]

    def with_finer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features, and the map before the last down-sampling [B, width, 2h, 2w]."""
        if self.patch_size > 1:
            x = F.pixel_unshuffle(x, self.patch_size)
        finer = h = self.conv_in(x)
        for stage in cast(Iterable[Level], self.down):
            h = stage(h)
            if hasattr(stage, "downsample"):
                finer, h = h, stage.downsample(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return out, finer


class Decoder(nn.Module):
    """Features [B, z_channels, h, w] → pixels around [-1, 1] [B, 3, H, W], not clamped."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        widths = [config.ch * mult for mult in config.ch_mult]
        last = len(widths) - 1
        self.patch_size = config.patch_size
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = _mid(widths[-1], config)
        self.up = nn.ModuleList()
        for level, width in enumerate(widths):
            before = widths[min(level + 1, last)]
            channels = [before] + [width] * (config.num_res_blocks + 1)
            stage = Level(channels, _has_attn(config.grid_size << (last - level), config), config)
            if level > 0 or config.use_init_downsample:
                stage.upsample = _upsample(width, config)
            self.up.append(stage)
        self.norm_out = normalisation(widths[0], config)
        out_channels = config.out_ch * config.patch_size**2
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for stage in cast(Iterable[Level], reversed(self.up)):
            h = stage(h)
            if hasattr(stage, "upsample"):
                h = stage.upsample(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return F.pixel_shuffle(out, self.patch_size) if self.patch_size > 1 else out


class Quantizer(nn.Module):
    """The codebook: features ↔ indices of their nearest vectors (squared Euclidean, float32)."""

    def __init__(self, n_embed: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)

    def distances(self, z: Tensor) -> Tensor:
        """Features [B, C, h, w] → squared distance of each position to each vector [Bhw, V]."""
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]).float()  # [Bhw, C]
        book = self.embedding.weight.float()  # [V, C]
        return flat.square().sum(1, keepdim=True) + book.square().sum(1) - 2 * flat @ book.T

    def forward(self, z: Tensor) -> Tensor:
        """Features [B, C, h, w] → codes [B, h, w]."""
        return self.distances(z).argmin(1).view(z.shape[0], *z.shape[2:])

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes [B, h, w] → features [B, C, h, w]."""
        vectors: Tensor = self.embedding(codes)
        return vectors.permute(0, 3, 1, 2)


class GumbelQuantizer(Quantizer):
    """Features → the most probable code; without noise, which the reference draws here, too."""

    def __init__(self, n_embed: int, embed_dim: int) -> None:
        super().__init__(n_embed, embed_dim)
        self.proj = nn.Conv2d(embed_dim, n_embed, 1)

    def forward(self, z: Tensor) -> Tensor:
        logits: Tensor = self.proj(z)  # [B, V, h, w]
        return logits.argmax(1)


class VQGAN(nn.Module):
    """A `Codec` of one code per cell, `Ordered`.

    Inside, pixels are images in [-1, 1] [B, 3, H, W] and codes a grid [B, h, w]; features after
    `quant_conv` are [B, embed_dim, h, w].
    """

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.code_shape = config.code_shape
        places = raster_places(config.order, config.grid_size)
        self.order = torch.tensor(places, device="cpu")  # no weight, so never on `meta`
        self._back = self.order.argsort()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        quantizer = GumbelQuantizer if config.quantizer == "gumbel" else Quantizer
        self.quantize = quantizer(config.n_embed, config.embed_dim)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    def features(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] [B, 3, H, W] → features before quantisation [B, embed_dim, h, w]."""
        out: Tensor = self.quant_conv(self.encoder(images))
        return out

    def encode_images(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] [B, 3, H, W] → grids [B, h, w]."""
        codes: Tensor = self.quantize(self.features(images))
        return codes

    def encode(self, pixels: Tensor) -> Tensor:
        return self.encode_images(pixels * 2 - 1).flatten(1)[:, self.order, None]

    def decode_features(self, quantised: Tensor) -> Tensor:
        """Codebook vectors [B, embed_dim, h, w] → raw pixels around [-1, 1] [B, 3, H, W]."""
        raw: Tensor = self.decoder(self.post_quant_conv(quantised))
        return raw

    def decode(self, codes: Tensor) -> Tensor:
        """Grids [B, h, w] → raw pixels around [-1, 1] [B, 3, H, W], not clamped."""
        return self.decode_features(self.quantize.lookup(codes))

    def pixels(self, codes: Tensor) -> Tensor:
        grids = codes[:, self._back].view(-1, self.config.grid_size, self.config.grid_size)
        return (self.decode(grids).float() * 0.5 + 0.5).clamp(0, 1)

    def prepare(self) -> None:
        """See Codec. The encoder stays in its mapped file, where it costs nothing until it runs."""
        self.decoder.to(memory_format=torch.channels_last)
