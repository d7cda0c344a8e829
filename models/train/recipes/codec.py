"""How any codec learns: reconstruction, commitment and, where asked for, a critic.

How its codes are found and its codebooks move is each family's own (`Codes`). Workers share a
batch. Knows nothing of text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from models.stage1.codec import Codec
from models.train.loop.engine import Engine
from models.train.loop.learner import Learner, Stateful
from models.train.loop.muon import optimisers
from models.train.loop.precision import lower
from models.train.loop.processes import mean
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule

_PARTS = ("encoder", "decoder")  # by name, of every codec: what may compute in less precision
BATCH = 16  # pictures at once where no gradients are needed

Loss = Callable[[Tensor, Tensor], Tensor]  # of raw pixels made, and images [B, 3, H, W]


def reconstruction_loss(made: Tensor, images: Tensor) -> Tensor:
    """L1 and L2 on pixels, on their differences (edges) and on 4×4 means (colour)."""
    edges = [F.l1_loss(made.diff(dim=dim), images.diff(dim=dim)) for dim in (2, 3)]
    coarse_made, coarse = F.avg_pool2d(made, 4), F.avg_pool2d(images, 4)
    low = F.l1_loss(coarse_made, coarse) + F.mse_loss(coarse_made, coarse)
    return F.l1_loss(made, images) + F.mse_loss(made, images) + 0.4 * (edges[0] + edges[1]) + low


@dataclass(frozen=True, slots=True)
class CodecPlan:
    """A recipe's numbers.

    Before step `unquantised` nothing is quantised, at it the codes are started; -1 where the model
    brings its own. `patience` and `fewest` are `CodebookAverages`'s. Without `muon_lr` AdamW has
    all, with these `betas`.
    """

    schedule: Schedule
    unquantised: int = 200
    restart_every: int = 20
    patience: float = 1.0
    fewest: float = 0.03
    muon_lr: float | None = 0.012
    adam_lr: float = 1.2e-3
    betas: tuple[float, float] = (0.9, 0.95)
    commitment: float = 0.25
    average: float = 0.995
    loss: Loss = reconstruction_loss

    def optimisers(self, model: nn.Module) -> list[Optimizer]:
        """Of everything that has gradients."""
        return optimisers(model, self.muon_lr, self.adam_lr, betas=self.betas)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a codec makes of a batch: raw pixels, how far its vectors are off, what to log."""

    made: Tensor
    commitment: Tensor
    values: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Encoder(Protocol):
    """What every codec's module has inside."""

    def features(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] [B, 3, H, W] → what is quantised [B, C, h, w]."""


class Codes(Protocol):
    """A family's codebooks, beside the gradients."""

    @property
    def state(self) -> Mapping[str, Stateful]: ...  # of the codebooks, by name

    def reconstruct(self, step: int, images: Tensor) -> Attempt:
        """Images [B, 3, H, W] in [-1, 1] through the codes and back; the codebooks move."""

    def start(self, images: Tensor, rng: torch.Generator) -> None:
        """Find the first codes, of many images [N, 3, H, W]."""


class Critic(Protocol):
    """Looks at what is made; its loss is added."""

    @property
    def state(self) -> Mapping[str, Stateful]: ...

    def loss(self, step: int, made: Tensor, images: Tensor, so_far: Tensor) -> Tensor:
        """What the codec shall lower besides the loss `so_far`."""

    def learn(self, step: int, made: Tensor, images: Tensor) -> dict[str, float]:
        """Its own update, if it has one, after the codec's gradients are there."""


class CodecTrainer:
    """The update of a run, in one process or each of many.

    Encoder and decoder compute in the engine's precision; codes and losses are float32 always, as
    in the reference.
    """

    def __init__(
        self,
        model: nn.Module,
        run: Run,
        plan: CodecPlan,
        codes: Codes,
        *critics: Critic,
        engine: Engine | None = None,
    ) -> None:
        self.model, self.run, self.plan = model, run, plan
        self.codes, self.critics = codes, critics
        self.engine = engine or Engine()
        for name, part in model.named_modules():
            if name.rpartition(".")[2] in _PARTS:
                lower(part, self.engine.precision)
        beside = dict(codes.state)
        for critic in critics:
            beside |= critic.state
        self.learner = Learner(
            model,
            codes.reconstruct,
            plan.optimisers,
            plan.schedule,
            decay=plan.average,
            beside=beside,
            engine=self.engine,
        )

    def start_codes(self, images: Tensor) -> None:
        """Find the first codes, of many images [N, 3, H, W]."""
        self.codes.start(images.to(self.engine.device), self.run.torch_rng(-1))

    def step(self, step: int, images: Tensor) -> dict[str, float]:
        """One update on this process's images [B, 3, H, W] in [-1, 1]."""
        images = images.to(self.engine.device)
        with self.run.seeded(step):
            attempt: Attempt = self.learner.compute(step, images)
        reconstruction = self.plan.loss(attempt.made, images)
        total = reconstruction
        for critic in self.critics:
            total = total + critic.loss(step, attempt.made, images, total)
        self.learner.update(step, [lambda: total + self.plan.commitment * attempt.commitment])
        values = {"commitment": float(attempt.commitment.detach()), **attempt.values}
        for critic in self.critics:
            values |= critic.learn(step, attempt.made.detach(), images)
        return {**values, "loss": mean(reconstruction.detach())}


def perplexity(codes: Tensor, size: int) -> float:
    """How many codes are in even use: exp of the entropy of their frequencies."""
    return math.exp(entropy(torch.bincount(codes.flatten(), minlength=size)))


def entropy(counts: Tensor) -> float:
    """Of what was met so many times [V], in nats."""
    share = counts.double() / counts.sum()
    return float(-torch.xlogy(share, share).sum())


def psnr(made: Tensor, images: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1], mean over the pictures."""
    error = ((made.clamp(-1, 1) - images) / 2).square().mean((1, 2, 3))
    return float((-10 * torch.log10(error.clamp(min=1e-10))).mean())


@torch.no_grad()
def evaluate(model: Codec, images: Tensor) -> tuple[dict[str, float], Tensor]:
    """PSNR and codes used on images in [-1, 1]; and the reconstructions.

    Of codecs with several depths also the first one's PSNR alone, and each one's codes.
    """
    parts = torch.split(images, BATCH)
    codes = torch.cat([model.encode(part * 0.5 + 0.5) for part in parts])
    made = _pixels(model, codes)
    values = {
        "psnr": psnr(made, images),
        "codes": float(torch.unique(codes).numel()),
        "perplexity": perplexity(codes, int(codes.max()) + 1),
    }
    if model.code_shape[1] > 1:
        values["psnr_coarse"] = psnr(_pixels(model, codes[..., :1]), images)
        for depth, used in enumerate(codes.unbind(-1)):
            values[f"codes_{depth}"] = float(torch.unique(used).numel())
    return values, made


def _pixels(model: Codec, codes: Tensor) -> Tensor:
    """Codes [N, T, d] → pixels in [-1, 1]."""
    return torch.cat([model.pixels(part) for part in torch.split(codes, BATCH)]) * 2 - 1
