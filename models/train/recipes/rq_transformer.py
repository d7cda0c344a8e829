"""How stage 2 of the RQ family learns.

Soft targets: how near every code is, not only which is nearest, for codes that are themselves drawn
by that nearness (Lee et al. 2022, section 3.2.3); a share of the loss is the text's. Stage 1 is
frozen. Knows no pixels beyond stage 1's features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.stage1.rq_vae import RQVAE
from models.stage2.rq_transformer import RQTransformer
from models.train.loop.learner import Learner
from models.train.loop.run import Run, Schedule


@dataclass(frozen=True, slots=True)
class RQPlan:
    """The recipe's numbers, the authors' own."""

    schedule: Schedule
    lr: float = 5e-4
    weight_decay: float = 1e-4
    tau: float = 0.5
    draws_codes: bool = True
    text_weight: float = 0.1
    clip_norm: float = 1.0
    average: float = 0.998


class RQTransformerTrainer:
    """The update of a run; `stage1` must be the one whose codebook the model shares."""

    def __init__(self, model: RQTransformer, stage1: RQVAE, run: Run, plan: RQPlan) -> None:
        self.model, self.stage1, self.run, self.plan = model, stage1, run, plan
        stage1.eval().requires_grad_(False)
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=plan.lr, betas=(0.9, 0.95), weight_decay=plan.weight_decay
        )
        self.learner = Learner(model, [optimiser], plan.schedule, plan.average)

    def step(self, step: int, prefix: Tensor, images: Tensor) -> dict[str, float]:
        """One update on prefix ids [B, N] and their images [B, 3, H, W] in [-1, 1]."""
        plan = self.plan
        rng = self.run.torch_rng(step) if plan.draws_codes else None
        with torch.no_grad():
            vectors = self.stage1.fold(self.stage1.features(images))
            targets, codes = self.stage1.quantizer.soft(vectors, plan.tau, rng)
        with torch.random.fork_rng():
            torch.manual_seed(self.run.rng(step).getrandbits(62))  # dropout's own randomness
            loss = self.model.loss(prefix, codes, targets, plan.text_weight)
        self.learner.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip_norm)
        self.learner.advance(step)
        return {"loss": float(loss.detach())}
