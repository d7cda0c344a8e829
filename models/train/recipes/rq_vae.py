"""The recipe of the RQ family's codec.

Reconstruction, and commitment of the encoder to every partial sum of its codes (Lee et al. 2022,
section 3.1). The codebook has no gradient: it follows moving averages, depth after depth, one for
all depths where it is shared. Knows no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from models.configs.rq import RQVAEConfig
from models.stage1.rq_vae import RQVAE, commitment_loss
from models.train.loop.processes import joined_rows
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes.codebook_averages import PATIENCE, CodebookAverages, k_means
from models.train.recipes.codec import BATCH, Attempt, CodecPlan, perplexity

# The emoji model's codec but for one level more: 4×4 positions of four codes each.
SHAPE = RQVAEConfig(
    embed_dim=32,
    n_embed=(1024,) * 4,
    latent_shape=(4, 4, 32),
    grid=(4, 4, 4),
    z_channels=128,
    resolution=64,
    ch=32,
    ch_mult=(1, 2, 4, 4),
    num_res_blocks=1,
    attn_resolutions=(8, 4),
    patch_size=2,
    norm_groups=16,
    decay=(0.99,) * 4,
)


def features_of(shape: RQVAEConfig) -> tuple[int, int, int]:
    """The extent (C, h, w) of its features."""
    return shape.embed_dim, *shape.latent_shape[:2]


def plan_of(model: RQVAE, steps: int, is_fine_tuning: bool) -> CodecPlan:
    """A checkpoint goes on as its authors trained it; its codes are given time to be chosen.

    From scratch losses, rates and how codes begin are the other codecs', so that they can be
    compared.
    """
    plan = CodecPlan(Schedule(steps), commitment=model.config.latent_loss_weight)
    if not is_fine_tuning:
        return replace(plan, unquantised=min(plan.unquantised, steps // 2))
    authors = replace(plan, muon_lr=None, adam_lr=4e-5, betas=(0.5, 0.9), unquantised=-1)
    return replace(authors, loss=model.reconstruction_loss, patience=PATIENCE, fewest=1.0)


class RQCodes:
    """See `Codes`."""

    def __init__(self, model: RQVAE, run: Run, plan: CodecPlan) -> None:
        self.model, self.run, self.plan = model, run, plan
        model.quantizer.requires_grad_(False)
        config = model.config
        self.averages = nn.ModuleList(
            CodebookAverages(
                model.quantizer.book(depth),
                config.decay[depth],
                restarts=config.restart_unused_codes,
                patience=plan.patience,
                fewest=plan.fewest,
            )
            for depth in range(len(model.quantizer.codebooks))
        )
        self.state: Mapping[str, nn.Module] = {"averages": self.averages}

    def reconstruct(self, step: int, images: Tensor) -> Attempt:
        """See Codes."""
        model = self.model
        features = model.features(images)
        if step < self.plan.unquantised:
            return Attempt(model.decode_features(features), features.new_zeros(()))
        vectors = model.fold(features)
        sums, codes = self._quantise(vectors.detach(), self.run.torch_rng(step))
        quantised = model.unfold(sums[:, :, -1])
        made = model.decode_features(features + (quantised - features).detach())
        sizes = model.config.n_embed
        values = {
            f"perplexity_{depth}": perplexity(codes[..., depth], size)
            for depth, size in enumerate(sizes)
        }
        return Attempt(made, commitment_loss(vectors, sums), values)

    @torch.no_grad()
    def start(self, images: Tensor, rng: torch.Generator) -> None:
        """K-means, depth after depth; depths that share a codebook share its codes out."""
        parts = torch.split(images, BATCH)
        left = torch.cat([self.model.fold(self.model.features(part)) for part in parts])
        left, depths = left.flatten(0, 1), range(self.model.quantizer.depth)
        shares = len(depths) // len(self.averages)
        for depth in depths:
            book = self.model.quantizer.book(depth)
            own = book.tensor_split(shares)[depth % shares]
            own.copy_(k_means(left, len(own), rng))
            left = left - own[torch.cdist(left, own).argmin(1)]
            self._averages(depth).start(book)

    @torch.no_grad()
    def _quantise(self, vectors: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Partial sums [B, T, D, C] and codes, each by the codebook that the depth before left."""
        quantizer = self.model.quantizer
        left, sums, chosen = vectors, [], []
        for depth in range(quantizer.depth):
            codes = quantizer.distances(left, depth).argmin(-1)
            found = quantizer.vector(codes, depth)
            self._update_book(depth, left.flatten(0, 1), codes.flatten(), rng)
            left = left - found
            sums.append(vectors - left)
            chosen.append(codes)
        return torch.stack(sums, 2), torch.stack(chosen, 2)

    def _update_book(
        self, depth: int, vectors: Tensor, codes: Tensor, rng: torch.Generator
    ) -> None:
        averages = self._averages(depth)
        averages.update(joined_rows(vectors), joined_rows(codes), rng)
        self.model.quantizer.book(depth).copy_(averages.book())

    def _averages(self, depth: int) -> CodebookAverages:
        averages = cast(list[CodebookAverages], self.averages)
        return averages[min(depth, len(averages) - 1)]
