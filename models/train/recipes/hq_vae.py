"""How the HQ family's stage 1 learns.

As the VQGAN does (its losses, codebooks by moving averages, k-means start, restarts), with a
codebook and a commitment a level. Workers share each batch. Knows nothing of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.hq_configs import HQVAEConfig
from models.stage1.hq_vae import HQVAE, Quantised
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.run import Run, Schedule
from models.train.loop.workers import average_gradients, joined_rows
from models.train.recipes.vqgan import Codebook, perplexity, psnr, reconstruction_loss

# 8×8 and 16×16 codes of 128 pixels. Without norms and attention what stands in one place hardly
# changes the codes of another, which is noise to stage 2; and it learns faster: after 600 steps of
# 8 pictures at ch 32, 26.4 dB on single things (GroupNorm 25.5, with attention as well 25.4) and
# 86 % of the finer codes beside a changed thing kept (63 and 64 %).
SHAPE = HQVAEConfig(
    embed_dim=16,
    n_embed=(1024, 1024),
    z_channels=96,
    resolution=128,
    ch=48,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(),
    patch_size=4,
    norm="none",
    use_attn=False,
)
_BATCH = 16  # pictures at once where no gradients are needed


@dataclass(frozen=True, slots=True)
class HQVAEPlan:
    """The recipe's numbers."""

    schedule: Schedule
    unquantised: int = 200
    restart_every: int = 20
    muon_lr: float = 0.012
    adam_lr: float = 1.2e-3
    commitment: float = 0.25
    average: float = 0.998


def blurred(model: HQVAE, features: Tensor) -> list[Tensor]:
    """Vectors of each level as if nothing were quantised: a coarse level keeps only local means.

    With folding, a coarse level could hold the whole map, and the finer ones would learn nothing.
    """
    ratio = model.config.ratio
    levels, coarse = [], None
    for level, steps in enumerate(reversed(range(len(model.config.n_embed)))):
        smooth = features
        if steps:
            pooled = F.avg_pool2d(features, ratio**steps)
            smooth = F.interpolate(pooled, scale_factor=float(ratio**steps), mode="nearest")
        own = smooth
        for down in model.downsamples[:steps]:
            own = down(own)
        vectors = own if coarse is None else own - coarse
        levels.append(vectors)
        if level < len(model.upsamples):
            coarse = model.upsamples[level](vectors if coarse is None else coarse + vectors)
    return levels


class HQVAETrainer:
    """The update of a run, with the codebooks beside the gradients; one a worker."""

    def __init__(self, model: HQVAE, run: Run, plan: HQVAEPlan) -> None:
        self.model = model
        self.run = run
        self.plan = plan
        model.quantizers.requires_grad_(False)
        books = zip(model.config.n_embed, model.config.dims, strict=True)
        self.codebooks = nn.ModuleList(Codebook(*book) for book in books)
        self.learner = Learner(
            model,
            optimisers(model, plan.muon_lr, plan.adam_lr),
            plan.schedule,
            plan.average,
            beside={"codebooks": self.codebooks},
        )

    def step(self, step: int, images: Tensor) -> dict[str, float]:
        """One update on this worker's images [B, 3, H, W] in [-1, 1]."""
        features = self.model.features(images)
        values: dict[str, float] = {}
        commitment = features.new_zeros(())
        if step < self.plan.unquantised:
            vectors = blurred(self.model, features)
        else:
            levels = self.model.quantise(features)
            self._move_codes(step, levels)
            vectors = [q.wanted + (q.vectors - q.wanted).detach() for q in levels]
            commitment = sum((F.mse_loss(q.wanted, q.vectors) for q in levels), commitment)
            values = {"commitment": float(commitment.detach()), **_use(self.model, levels)}
        reconstruction = reconstruction_loss(self.model.decode_vectors(vectors), images)
        self.learner.backward(reconstruction + self.plan.commitment * commitment)
        values["loss"] = average_gradients(self.model, reconstruction.detach())
        self.learner.advance(step)
        return values

    @torch.no_grad()
    def start_codes(self, images: Tensor, rng: torch.Generator) -> None:
        """K-means over the vectors of many pictures [N, 3, H, W], level after level."""
        features = torch.cat([self.model.features(part) for part in torch.split(images, _BATCH)])
        for level, codebook in enumerate(self.codebooks):
            wanted = self.model.quantise(features)[level].wanted
            _codebook(codebook).start(self._book(level), _flat(wanted), rng)

    @torch.no_grad()
    def _move_codes(self, step: int, levels: Sequence[Quantised]) -> None:
        for level, quantised in enumerate(levels):
            vectors = joined_rows(_flat(quantised.wanted))
            codes = joined_rows(quantised.codes.flatten())
            codebook = _codebook(self.codebooks[level])
            codebook.update(self._book(level), vectors, codes)
            if step % self.plan.restart_every == 0:
                codebook.restart(self._book(level), vectors, self.run.torch_rng(step))

    def _book(self, level: int) -> Tensor:
        return self.model.quantizer(level).embedding.weight


def _codebook(module: nn.Module) -> Codebook:
    assert isinstance(module, Codebook)
    return module


def _flat(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def _use(model: HQVAE, levels: Sequence[Quantised]) -> dict[str, float]:
    sizes = model.config.n_embed
    return {
        f"perplexity_{level}": perplexity(quantised.codes, sizes[level])
        for level, quantised in enumerate(levels)
    }


@torch.no_grad()
def evaluate(model: HQVAE, images: Tensor) -> tuple[dict[str, float], Tensor]:
    """PSNR (of all levels, of the coarsest alone) and codes used; and the reconstructions."""
    levels = [model.quantise(model.features(part)) for part in torch.split(images, _BATCH)]
    codes = [[level.codes for level in found] for found in levels]
    made = torch.cat([model.decode(grids) for grids in codes])
    blank = [None] * (len(model.config.n_embed) - 1)
    coarse = torch.cat([model.decode([grids[0], *blank]) for grids in codes])
    used = [torch.unique(torch.cat(grids)).numel() for grids in zip(*codes, strict=True)]
    values = {"psnr": psnr(made, images), "psnr_coarse": psnr(coarse, images)}
    return values | {f"codes_{level}": float(n) for level, n in enumerate(used)}, made
