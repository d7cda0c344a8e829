"""How stage 1 of the RQ family learns.

Reconstruction, and commitment of the encoder to every partial sum of its codes (Lee et al. 2022,
section 3.1). The codebook has no gradient: it follows moving averages, depth after depth, one for
all depths where it is shared. Perceptual and adversarial losses are left out. Knows no text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.stage1.rq_vae import RQVAE, commitment_loss
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.run import Run, Schedule
from models.train.recipes.codebook_averages import CodebookAverages


@dataclass(frozen=True, slots=True)
class RQVAEPlan:
    """The recipe's numbers; without `muon_lr` Adam has all, as the authors train."""

    schedule: Schedule
    muon_lr: float | None = 0.012
    adam_lr: float = 1.2e-3
    patience: float = 0.0
    average: float = 0.995

    def optimisers(self, model: nn.Module) -> list[Optimizer]:
        """Of everything that has gradients."""
        if self.muon_lr is not None:
            return optimisers(model, self.muon_lr, self.adam_lr)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        return [torch.optim.Adam(weights, lr=self.adam_lr, betas=(0.5, 0.9))]


def plan_of(steps: int, is_fine_tuning: bool) -> RQVAEPlan:
    """A checkpoint goes on as its authors trained it; its codes are given time to be chosen."""
    if is_fine_tuning:
        return RQVAEPlan(Schedule(steps), muon_lr=None, adam_lr=4e-5, patience=100.0)
    return RQVAEPlan(Schedule(steps))


class RQVAETrainer:
    """The update of a run, with the codebooks beside the gradients."""

    def __init__(self, model: RQVAE, run: Run, plan: RQVAEPlan) -> None:
        self.model, self.run = model, run
        model.quantizer.requires_grad_(False)
        config = model.config
        self.averages = nn.ModuleList(
            CodebookAverages(
                model.quantizer.book(depth),
                config.decay[depth],
                restarts=config.restart_unused_codes,
                patience=plan.patience,
            )
            for depth in range(len(model.quantizer.codebooks))
        )
        self.learner = Learner(
            model,
            plan.optimisers(model),
            plan.schedule,
            plan.average,
            beside={"averages": self.averages},
        )

    def step(self, step: int, images: Tensor) -> dict[str, float]:
        """One update on images [B, 3, H, W] in [-1, 1]."""
        model = self.model
        features = model.features(images)
        vectors = model.fold(features)
        sums = self._quantise(vectors.detach(), self.run.torch_rng(step))
        commitment = commitment_loss(vectors, sums)
        quantised = model.unfold(sums[:, :, -1])
        made = model.decode_features(features + (quantised - features).detach())
        reconstruction = model.reconstruction_loss(made, images)
        self.learner.backward(reconstruction + model.config.latent_loss_weight * commitment)
        self.learner.advance(step)
        values = {"loss": reconstruction, "commitment": commitment}
        return {name: float(value.detach()) for name, value in values.items()}

    @torch.no_grad()
    def _quantise(self, vectors: Tensor, rng: torch.Generator) -> Tensor:
        """Partial sums [B, T, D, C], each depth by the codebook that the depth before left."""
        quantizer = self.model.quantizer
        left, sums = vectors, []
        for depth in range(quantizer.depth):
            codes = quantizer.distances(left, depth).argmin(-1)
            chosen = quantizer.vector(codes, depth)
            self._update_book(depth, left.flatten(0, 1), codes.flatten(), rng)
            left = left - chosen
            sums.append(vectors - left)
        return torch.stack(sums, 2)

    def _update_book(
        self, depth: int, vectors: Tensor, codes: Tensor, rng: torch.Generator
    ) -> None:
        averages = cast(list[CodebookAverages], self.averages)[min(depth, len(self.averages) - 1)]
        averages.update(vectors, codes, rng)
        self.model.quantizer.book(depth).copy_(averages.book())
