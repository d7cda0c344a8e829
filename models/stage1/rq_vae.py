"""Stage 1 of the RQ family: RQ-VAE, pixels ↔ D codes at each position (Lee et al. 2022).

A vector becomes its nearest code, then what that leaves over becomes the next one, D times; the sum
of the D code vectors is the picture's. Encoder and decoder are VQGAN's. Knows nothing of prompts
and of where weights come from. A codebook has one row more than codes, the official files'
padding, which is never the nearest.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.rq import RQVAEConfig
from models.stage1.vqgan import Decoder, Encoder


class ResidualQuantizer(nn.Module):
    """The codebooks: vectors ↔ D indices (squared Euclidean distances, float32).

    Vectors are [..., code_dim], codes [..., D].
    """

    def __init__(self, config: RQVAEConfig) -> None:
        super().__init__()
        self.depth = config.grid[2]
        sizes = config.n_embed[:1] if config.shared_codebook else config.n_embed
        self.codebooks = nn.ModuleList(nn.Embedding(size + 1, config.code_dim) for size in sizes)

    def book(self, depth: int) -> Tensor:
        """The codes of one depth, [V, code_dim]."""
        books = cast(list[nn.Embedding], self.codebooks)
        return books[min(depth, len(books) - 1)].weight[:-1]

    def distances(self, residual: Tensor, depth: int) -> Tensor:
        """Squared distances of vectors [..., code_dim] to the codes of one depth, [..., V]."""
        book = self.book(depth).float()
        flat = residual.float().flatten(0, -2)
        squares = flat.square().sum(1, keepdim=True) + book.square().sum(1)
        return torch.addmm(squares, flat, book.T, alpha=-2).view(*residual.shape[:-1], -1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors → their codes."""
        residual, codes = vectors.float(), []
        for depth in range(self.depth):
            code = self.distances(residual, depth).argmin(-1)
            residual = residual - self.vector(code, depth)
            codes.append(code)
        return torch.stack(codes, -1)

    def soft(
        self, vectors: Tensor, tau: float, generator: torch.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """How near every code is, as probabilities: softmax(-distance / tau).

        Args:
            vectors: [..., code_dim].
            tau: temperature, in squared distances.
            generator: where given, each code is drawn by these probabilities and the next depth
                goes on from the drawn one; else it is the nearest.

        Returns:
            Per depth the probabilities [..., V]; and the codes.
        """
        residual, targets, codes = vectors.float(), [], []
        for depth in range(self.depth):
            distances = self.distances(residual, depth)
            nearness = (-distances / tau).softmax(-1)
            code = distances.argmin(-1)
            if generator is not None:
                drawn = torch.multinomial(nearness.flatten(0, -2), 1, generator=generator)
                code = drawn.view(code.shape)
            residual = residual - self.vector(code, depth)
            targets.append(nearness)
            codes.append(code)
        return targets, torch.stack(codes, -1)

    def vector(self, code: Tensor, depth: int) -> Tensor:
        """Codes [...] of one depth → their vectors [..., code_dim]."""
        return F.embedding(code, self.book(depth))

    def vectors(self, codes: Tensor) -> Tensor:
        """Codes → the vector of each, [..., D, code_dim]; fewer depths than D may be given."""
        return torch.stack([self.vector(code, i) for i, code in enumerate(codes.unbind(-1))], -2)


class RQVAE(nn.Module):
    """A `Codec`.

    Shapes: images in [-1, 1] [B, 3, H, W]; features [B, embed_dim, H', W'] as in `latent_shape`;
    vectors [B, T, code_dim]; codes [B, T, D], positions in raster order.
    """

    def __init__(self, config: RQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.code_shape = config.code_shape
        self.encoder = Encoder(config.autoencoder)
        self.decoder = Decoder(config.autoencoder)
        self.quantizer = ResidualQuantizer(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    def features(self, images: Tensor) -> Tensor:
        """Images → features before quantisation."""
        out: Tensor = self.quant_conv(self.encoder(images))
        return out

    def fold(self, features: Tensor) -> Tensor:
        """Features → vectors: each r×s patch in the order row, column, channel."""
        (rows, columns), (height, width, _) = self.config.fold, self.config.grid
        patches = features.view(len(features), -1, height, rows, width, columns)
        return patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def unfold(self, vectors: Tensor) -> Tensor:
        """Vectors → features, the inverse of `fold`."""
        (rows, columns), (height, width, _) = self.config.fold, self.config.grid
        patches = vectors.view(len(vectors), height, width, rows, columns, -1)
        return patches.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    def encode(self, pixels: Tensor) -> Tensor:
        """See Codec."""
        codes: Tensor = self.quantizer(self.fold(self.features(pixels * 2 - 1)))
        return codes

    def decode_features(self, quantised: Tensor) -> Tensor:
        """Quantised features → raw pixels around [-1, 1]."""
        raw: Tensor = self.decoder(self.post_quant_conv(quantised))
        return raw

    def decode(self, codes: Tensor) -> Tensor:
        """Codes of the first depths, [B, T, 1..D] → raw pixels around [-1, 1], not clamped."""
        return self.decode_features(self.unfold(self.quantizer.vectors(codes).sum(2)))

    def decode_one(self, codes: Tensor, depth: int) -> Tensor:
        """The raw pixels that the codes of this depth alone make, counted from 0."""
        return self.decode_features(self.unfold(self.quantizer.vectors(codes)[:, :, depth]))

    def reconstruction_loss(self, made: Tensor, images: Tensor) -> Tensor:
        """Mean square or mean absolute difference of raw pixels and images, as the config says."""
        loss = F.mse_loss if self.config.loss_type == "mse" else F.l1_loss
        return loss(made, images)

    def pixels(self, codes: Tensor) -> Tensor:
        """See Codec: the vectors of the given depths are added up, coarse to fine."""
        return (self.decode(codes).float() * 0.5 + 0.5).clamp(0, 1)

    def prepare(self) -> None:
        """See Codec. The encoder stays as it is: it isn't served."""
        self.decoder.to(memory_format=torch.channels_last)


def commitment_loss(vectors: Tensor, sums: Tensor) -> Tensor:
    """Mean square distance of vectors [B, T, C] to each of their partial sums [B, T, D, C]."""
    return F.mse_loss(vectors[:, :, None].expand_as(sums), sums.detach())
