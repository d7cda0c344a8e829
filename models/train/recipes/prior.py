"""How any prior learns: its family's loss of prompts and codes, by Muon or as fine-tuning.

Workers share a batch. Knows no pixels; stage 1 only as what a family's loss asks of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.configs.prior import PrefixKind
from models.train.loop.engine import Engine
from models.train.loop.learner import Learner
from models.train.loop.muon import optimisers
from models.train.loop.precision import autocast
from models.train.loop.processes import place
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule


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

    def to(self, device: torch.device) -> Examples:
        """The same on a device."""
        features = None if self.features is None else self.features.to(device)
        return Examples(self.prefix.to(device), self.codes.to(device), features)

    def parts(self, number: int) -> Iterator[Examples]:
        """The same in so many parts of one size, or one less; none is empty."""
        for part in torch.arange(len(self.codes)).tensor_split(min(number, len(self.codes))):
            features = None if self.features is None else self.features[part]
            yield Examples(self.prefix[part], self.codes[part], features)


@dataclass(frozen=True, slots=True)
class PriorPlan:
    """A recipe's numbers. Without `muon_lr` AdamW has all, without `text_weight` the model's own.

    `betas` are AdamW's. `tau` is the temperature of soft targets, in squared distances, and
    `draws_codes` says whether the codes are drawn by them; families without soft targets read
    neither. `own_codes` is the share of a cell's finer codes that a model which draws them at once
    is shown as it draws them itself. `accumulate` is how many parts of a batch are learnt from
    one after the other, to save memory.
    """

    schedule: Schedule
    muon_lr: float | None = 0.02
    adam_lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    text_weight: float | None = 0.0
    clip_norm: float | None = None
    average: float = 0.998
    tau: float = 0.5
    draws_codes: bool = True
    own_codes: float = 0.0
    accumulate: int = 1

    def optimisers(self, model: nn.Module, looked_up: tuple[str, ...]) -> list[Optimizer]:
        """Of all weights; `looked_up` are never Muon's."""
        adam = {"betas": self.betas, "weight_decay": self.weight_decay}
        return optimisers(model, self.muon_lr, self.adam_lr, looked_up, **adam)


# Of (prior, codec, examples, plan), with the random numbers of this step and process. Any: a family
# gets its own modules.
PriorLoss = Callable[[Any, Any, Examples, PriorPlan, torch.Generator], Tensor]


class PriorTrainer:
    """The update of a run, in one process or each of many. `codec` stays as it is."""

    def __init__(  # noqa: PLR0913  what a run of stage 2 consists of
        self,
        model: nn.Module,
        codec: nn.Module | None,
        run: Run,
        plan: PriorPlan,
        loss: PriorLoss,
        looked_up: tuple[str, ...] = (),
        *,
        engine: Engine | None = None,
    ) -> None:
        self.model, self.codec, self.run, self.plan, self.loss = model, codec, run, plan, loss
        self.engine = engine or Engine()
        if codec is not None:
            codec.eval().requires_grad_(False).to(self.engine.device)
        self.learner = Learner(
            model,
            self._loss,
            partial(plan.optimisers, looked_up=looked_up),
            plan.schedule,
            decay=plan.average,
            clip_norm=plan.clip_norm,
            engine=self.engine,
        )

    def step(self, step: int, examples: Examples) -> dict[str, float]:
        """One update on this process's share of the batch."""
        rng = self.run.torch_rng(step, self.engine.device, place()[0])
        parts = examples.to(self.engine.device).parts(self.plan.accumulate)
        shares = [(part, len(part.codes) / len(examples.codes)) for part in parts]
        losses = [partial(self.learner.compute, part, share, rng) for part, share in shares]
        with self.run.seeded(step):
            return {"loss": self.learner.update(step, losses)}

    def _loss(self, part: Examples, share: float, rng: torch.Generator) -> Tensor:
        """Of a part of the batch, by its share."""
        return share * self.loss_of(self.model, part, rng)

    def loss_of(self, model: nn.Module, examples: Examples, rng: torch.Generator) -> Tensor:
        """The mean over examples, of the model that is trained or its like."""
        with autocast(self.engine.precision, self.engine.device.type):
            return self.loss(model, self.codec, examples, self.plan, rng)
