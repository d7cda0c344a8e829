"""How the transformer over codes learns: teacher-forced cross-entropy, by Muon or as fine-tuning.

Knows pictures only as codes and prompts only as ids.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.stage2.transformer import Transformer
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.run import Schedule
from models.train.loop.workers import average_gradients

_LOOKED_UP = ("tok_emb", "pos_emb", "head", "sos")


@dataclass(frozen=True, slots=True)
class TransformerPlan:
    """The recipe's numbers."""

    schedule: Schedule
    muon_lr: float | None = 0.02
    adam_lr: float = 2e-3
    text_weight: float = 0.0
    clip_norm: float | None = None
    average: float = 0.998


def plan_of(steps: int, is_fine_tuning: bool) -> TransformerPlan:
    """From scratch by Muon; a checkpoint goes on as minDALL-E's authors fine-tune it."""
    if is_fine_tuning:
        return TransformerPlan(Schedule(steps, warm_up=1, floor=0.0), None, 1e-4, clip_norm=4.0)
    return TransformerPlan(Schedule(steps, warm_up=min(100, 1 + steps // 15)))


class TransformerTrainer:
    """The update of a run; one per worker, all equal after each step."""

    def __init__(self, model: Transformer, plan: TransformerPlan) -> None:
        self.model = model
        self.plan = plan
        self.learner = Learner(
            model,
            optimisers(model, plan.muon_lr, plan.adam_lr, _LOOKED_UP),
            plan.schedule,
            plan.average,
        )

    def step(self, step: int, prefix: Tensor, codes: Tensor) -> dict[str, float]:
        """One update on this worker's share of the batch."""
        loss = self.model.loss(prefix, codes, self.plan.text_weight)
        self.learner.backward(loss)
        total = average_gradients(self.model, loss.detach())
        if self.plan.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip_norm)
        self.learner.advance(step)
        return {"loss": total}
