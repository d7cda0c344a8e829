"""Stage 1 of the HQ family: pixels ↔ a pyramid of code grids (You et al. 2022, "HQ-VAE").

One module for both of its published forms: two levels whose vectors the decoder sees side by side,
and any number of levels whose vectors are summed. Encoder and decoder are the VQGAN's. Knows
nothing of training losses or of where weights come from. Facts that are easy to get wrong: each
finer level codes what the coarser ones left over, and no vector is normalised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.hq import HQVAEConfig
from models.stage1.vqgan import Decoder, Encoder, Quantizer


@dataclass(frozen=True, slots=True)
class Quantised:
    """One level of a picture: what the coarser ones left for it, and what it chose.

    `wanted` and `vectors` are [B, C_i, h_i, w_i], `codes` is [B, h_i, w_i].
    """

    wanted: Tensor
    vectors: Tensor
    codes: Tensor


class Resize(nn.Module):
    """A map to the next level's size and back, without weights."""

    def __init__(self, config: HQVAEConfig, is_up: bool) -> None:
        super().__init__()
        self.ratio = config.ratio
        self.is_folding = config.resize == "pixelshuffle"
        self.is_up = is_up

    def forward(self, x: Tensor) -> Tensor:
        if self.is_folding:
            return (F.pixel_shuffle if self.is_up else F.pixel_unshuffle)(x, self.ratio)
        if self.is_up:
            return F.interpolate(x, scale_factor=float(self.ratio), mode="nearest")
        return F.avg_pool2d(x, self.ratio)


def _down(config: HQVAEConfig) -> nn.Module:
    if config.resize != "conv":
        return Resize(config, is_up=False)
    return nn.Conv2d(config.embed_dim, config.embed_dim, config.ratio, stride=config.ratio)


def _up(config: HQVAEConfig) -> nn.Module:
    if config.resize != "conv":
        return Resize(config, is_up=True)
    return nn.ConvTranspose2d(config.embed_dim, config.embed_dim, config.ratio, stride=config.ratio)


class HQVAE(nn.Module):
    """A `Codec` of one grid of codes [B, h_i, w_i] a level, the coarsest first.

    Inside, pixels are images in [-1, 1] [B, 3, H, W]; outside, codes come in cells [B, T, D].
    """

    def __init__(self, config: HQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.code_shape = config.code_shape
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        books = list(zip(config.n_embed, config.dims, strict=True))
        self.quantizers = nn.ModuleList(
            Quantizer(*book) for book in (books[:1] if config.has_shared_codebook else books)
        )
        steps = range(len(books) - 1)
        self.downsamples = nn.ModuleList(_down(config) for _ in steps)  # the finest step first
        self.upsamples = nn.ModuleList(_up(config) for _ in steps)  # the coarsest step first
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        width = config.embed_dim * (2 if config.join == "concat" else 1)
        self.post_quant_conv = nn.Conv2d(width, config.z_channels, 1)

    def quantizer(self, level: int) -> Quantizer:
        """The codebook of a level."""
        chosen = self.quantizers[0 if self.config.has_shared_codebook else level]
        assert isinstance(chosen, Quantizer)
        return chosen

    def features(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] [B, 3, H, W] → the finest map before quantisation [B, C, h, w]."""
        out: Tensor = self.quant_conv(self.encoder(images))
        return out

    def quantise(self, features: Tensor) -> list[Quantised]:
        """The finest map [B, C, h, w] → each level's choice."""
        levels: list[Quantised] = []
        coarse: Tensor | None = None
        for level, own in enumerate(self._maps(features)):
            wanted = own if coarse is None else own - coarse
            quantizer = self.quantizer(level)
            codes: Tensor = quantizer(wanted)
            vectors = quantizer.lookup(codes)
            levels.append(Quantised(wanted, vectors, codes))
            if level < len(self.upsamples):
                coarse = self.upsamples[level](vectors if coarse is None else coarse + vectors)
        return levels

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels in [0, 1] [B, 3, H, W] → codes [B, T, D], a cell's coarsest code first."""
        levels = self.quantise(self.features(pixels * 2 - 1))
        return to_cells([level.codes for level in levels])

    def soft_codes(self, images: Tensor, temperature: float) -> list[Tensor]:
        """Images → probabilities [B, h_i, w_i, V_i]: softmax of -distance² / temperature.

        A finer level's are taken on what the *nearest* coarser codes leave over.
        """
        return self.soft(self.features(images), temperature)

    def soft(self, features: Tensor, temperature: float) -> list[Tensor]:
        """The same from the finest map [B, C, h, w]."""
        found: list[Tensor] = []
        for level, quantised in enumerate(self.quantise(features)):
            distances = self.quantizer(level).distances(quantised.wanted)
            found.append((-distances / temperature).softmax(-1).view(*quantised.codes.shape, -1))
        return found

    def decode_vectors(self, vectors: Sequence[Tensor]) -> Tensor:
        """Code vectors [B, C_i, h_i, w_i] of each level → raw pixels around [-1, 1]."""
        coarse, finest = vectors[0], vectors[-1]
        for up, vector in zip(self.upsamples, vectors[1:-1], strict=False):
            coarse = up(coarse) + vector
        coarse = self.upsamples[-1](coarse)
        joined = torch.cat([coarse, finest], 1) if self.config.join == "concat" else coarse + finest
        raw: Tensor = self.decoder(self.post_quant_conv(joined))
        return raw

    def decode(self, codes: Sequence[Tensor | None]) -> Tensor:
        """Codes [B, h_i, w_i] of each level → raw pixels around [-1, 1] [B, 3, H, W], not clamped.

        None in a level's place leaves it out: its vectors are zeros. At least one level is given.
        """
        rows = next(len(grid) for grid in codes if grid is not None)
        return self.decode_vectors(
            [
                self._nothing(level, rows) if grid is None else self.quantizer(level).lookup(grid)
                for level, grid in enumerate(codes)
            ]
        )

    def pixels(self, codes: Tensor) -> Tensor:
        """Codes [B, T, d] → pixels in [0, 1] [B, 3, H, W], float32.

        Of fewer depths than D it uses the levels that are there as a whole.
        """
        grids: list[Tensor | None] = list(to_grids(codes, self.config.sides))
        raw = self.decode(grids + [None] * (len(self.quantizers) - len(grids)))
        return (raw.float() * 0.5 + 0.5).clamp(0, 1)

    def prepare(self) -> None:
        """See Codec. The encoder stays as it is: it isn't served."""
        self.decoder.to(memory_format=torch.channels_last)

    def _maps(self, features: Tensor) -> list[Tensor]:
        """The finest map at every level's size, the coarsest first."""
        maps = [features]
        for down in self.downsamples:
            maps.append(down(maps[-1]))
        return maps[::-1]

    def _nothing(self, level: int, rows: int) -> Tensor:
        side = self.config.sides[level]
        weight = self.quantizer(level).embedding.weight
        return weight.new_zeros(rows, weight.shape[1], side, side)


def to_cells(grids: Sequence[Tensor]) -> Tensor:
    """Codes [B, h_i, w_i] of each level → [B, T, D]: each coarsest code with the finer ones below.

    Level after level, row by row inside the cell; cells in raster order.
    """
    side = grids[0].shape[-1]
    return torch.cat([in_cells(grid, side) for grid in grids], dim=2)


def in_cells(grid: Tensor, side: int) -> Tensor:
    """A grid of codes [B, h, w] → those of each of side × side cells, [B, T, n]."""
    ratio = grid.shape[-1] // side
    blocks = grid.view(len(grid), side, ratio, side, ratio).transpose(2, 3)
    return blocks.reshape(len(grid), side * side, ratio * ratio)


def on_grid(cells: Tensor, side: int) -> Tensor:
    """The inverse of `in_cells`."""
    ratio = isqrt(cells.shape[2])
    blocks = cells.view(len(cells), side, side, ratio, ratio).transpose(2, 3)
    return blocks.reshape(len(cells), side * ratio, side * ratio)


def soft_cells(soft: Sequence[Tensor]) -> list[Tensor]:
    """Probabilities [B, h_i, w_i, V_i] of each level → [B, T, V] of each code of a cell."""
    side = soft[0].shape[1]
    found: list[Tensor] = []
    for grid in soft:
        ratio = grid.shape[1] // side
        blocks = grid.view(len(grid), side, ratio, side, ratio, -1).transpose(2, 3)
        found += blocks.reshape(len(grid), side * side, ratio * ratio, -1).unbind(2)
    return found


def to_grids(cells: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """The inverse of `to_cells`; of [B, T, d] with d < D the levels that are there as a whole."""
    grids: list[Tensor] = []
    start = 0
    for side in sides:
        ratio = side // sides[0]
        part = cells[:, :, start : start + ratio**2]
        start += ratio**2
        if start > cells.shape[2]:
            break
        grids.append(on_grid(part, sides[0]))
    return grids


def official_name(name: str, config: HQVAEConfig) -> str:
    """A tensor's name in the released files; they hold the codebooks' averages besides."""
    name = re.sub(r"^(post_)?quant_conv\.", r"\1quant_conv_b.", name)
    if config.ema_update:
        name = name.removesuffix(".weight") if name.startswith("quantizers.") else name
    if config.join == "sum":
        return name
    name = re.sub(r"^quantizers\.([01])\.", lambda m: f"quantize_{'tb'[int(m[1])]}.", name)
    return name.replace("downsamples.0.", "down_t.").replace("upsamples.0.", "upsample_t.")
