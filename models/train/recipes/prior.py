"""How any prior learns: its family's loss of prompts and codes, by Muon or as fine-tuning.

Workers share a batch. Knows no pixels; stage 1 only as what a family's loss asks of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from models.configs import PrefixKind
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.precision import autocast
from models.train.loop.run import Run, Schedule
from models.train.loop.workers import average_gradients


@dataclass(frozen=True, slots=True)
class PromptShape:
    """What a prior is conditioned on: text tokens, classes, or one id where it is nothing."""

    kind: PrefixKind
    vocab_size: int = 1
    length: int = 1


@dataclass(frozen=True, slots=True)
class Examples:
    """Prefix ids [B, N] and codes [B, T] or [B, T, D]; where a family's targets are soft, also
    stage 1's features [B, C, h, w] that the codes are of.
    """

    prefix: Tensor
    codes: Tensor
    features: Tensor | None = None

    def parts(self, number: int) -> Iterator[Examples]:
        """The same in so many parts of one size, or one less; none is empty."""
        for part in torch.arange(len(self.codes)).tensor_split(min(number, len(self.codes))):
            features = None if self.features is None else self.features[part]
            yield Examples(self.prefix[part], self.codes[part], features)


@dataclass(frozen=True, slots=True)
class PriorPlan:
    """A recipe's numbers. Without `muon_lr` AdamW has all, without `text_weight` the model's own.

    `tau` is the temperature of soft targets, in squared distances; `draws_codes` says whether the
    codes are drawn by them. Families without soft targets read neither. `accumulate` is how many
    parts of a batch are learnt from one after the other, to save memory. In `precision`, if not
    None, the model computes; its losses are float32.
    """

    schedule: Schedule
    muon_lr: float | None = 0.02
    adam_lr: float = 2e-3
    weight_decay: float = 0.0
    text_weight: float | None = 0.0
    clip_norm: float | None = None
    average: float = 0.998
    tau: float = 0.5
    draws_codes: bool = True
    accumulate: int = 1
    precision: torch.dtype | None = None

    def optimisers(self, model: nn.Module, looked_up: tuple[str, ...]) -> list[Optimizer]:
        """Of all weights; `looked_up` are never Muon's."""
        if self.muon_lr is not None:
            return optimisers(model, self.muon_lr, self.adam_lr, looked_up)
        decay = self.weight_decay
        return [AdamW(model.parameters(), self.adam_lr, betas=(0.9, 0.95), weight_decay=decay)]


# Of (prior, codec, examples, plan), with the random numbers of this step and worker. Any: a family
# gets its own modules.
PriorLoss = Callable[[Any, Any, Examples, PriorPlan, torch.Generator], Tensor]


class PriorTrainer:
    """The update of a run; one per worker, all equal after each step. `codec` stays as it is."""

    def __init__(
        self,
        model: nn.Module,
        codec: nn.Module | None,
        run: Run,
        plan: PriorPlan,
        loss: PriorLoss,
        looked_up: tuple[str, ...] = (),
    ) -> None:
        self.model, self.codec, self.run, self.plan, self.loss = model, codec, run, plan, loss
        if codec is not None:
            codec.eval().requires_grad_(False)
        self.learner = Learner(
            model, plan.optimisers(model, looked_up), plan.schedule, plan.average
        )

    def step(self, step: int, examples: Examples) -> dict[str, float]:
        """One update on this worker's share of the batch."""
        with self.run.seeded(step):
            loss = self.learner.backward(self._losses(step, examples))
        total = average_gradients(self.model, loss)
        if self.plan.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip_norm)
        self.learner.advance(step, total)
        return {"loss": total}

    def _losses(self, step: int, examples: Examples) -> Iterator[Tensor]:
        """Of each part, by its share of the batch."""
        rng = self.run.torch_rng(step)
        for part in examples.parts(self.plan.accumulate):
            share = len(part.codes) / len(examples.codes)
            with autocast(self.plan.precision, part.codes.device.type):
                loss = self.loss(self.model, self.codec, part, self.plan, rng)
            yield share * loss
