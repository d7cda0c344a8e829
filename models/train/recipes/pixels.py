"""How the priors over pixels learn: the likelihood of whole pictures, in bits per dimension.

Adam with a moving average of the weights, as PixelCNN++'s authors have it; the others' numbers are
of the same kind. Knows pictures as levels and classes as ids, and none of the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.pixel_configs import (
    GatedPixelCNNConfig,
    ImageTransformerConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelPriorConfig,
)
from models.stage2.dmol import bits_per_dimension
from models.train.loop.learner import Learner
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule

# What is trained where nothing else says so: sizes for a few hours of a CPU, not the papers'.
SHAPES: dict[str, PixelPriorConfig] = {
    "pixel-cnn": PixelCNNConfig(filters=32, num_blocks=6, output_filters=128),
    "gated-pixel-cnn": GatedPixelCNNConfig(hidden_fmaps=48, hidden_layers=5, out_hidden_fmaps=96),
    "pixel-cnn-pp": PixelCNNPPConfig(nr_resnet=2, nr_filters=48, nr_logistic_mix=5),
    "image-transformer": ImageTransformerConfig(
        distr="mixture", hidden_size=128, nlayers=6, filter_size=256, num_mixtures=5
    ),
}


@dataclass(frozen=True, slots=True)
class PixelPlan:
    """The recipe's numbers."""

    schedule: Schedule
    lr: float = 1e-3
    betas: tuple[float, float] = (0.95, 0.9995)
    clip_norm: float = 1.0
    average: float = 0.9995


def plan_of(config: PixelPriorConfig, steps: int, rate: float = 1.0) -> PixelPlan:
    """A transformer learns more slowly and with the usual second moment."""
    schedule = Schedule(steps, warm_up=min(100, 1 + steps // 15))
    if isinstance(config, ImageTransformerConfig):
        return PixelPlan(schedule, 5e-4 * rate, betas=(0.9, 0.98))
    return PixelPlan(schedule, 1e-3 * rate)


def initialise(model: nn.Module, seed: int) -> None:
    """Fresh weights that depend on the seed alone; norms, gains and biases as they are built."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or name.endswith("weight_g"):
            continue
        fan_in = parameter.shape[1] if "embed" in name else parameter[0].numel()
        nn.init.normal_(parameter, std=fan_in**-0.5, generator=generator)


def bits(model: nn.Module, values: Tensor, classes: Tensor | None) -> Tensor:
    """Mean bits per dimension of pictures' levels [B, C, H, W]."""
    # Any: each family's module has a likelihood of its own, of pixels or of sub-pixels.
    nats: Tensor = -cast(Any, model).log_likelihood(values, classes).sum()
    return nats * bits_per_dimension(1.0, values.numel())


class PixelTrainer:
    """The update of a run."""

    def __init__(self, model: nn.Module, run: Run, plan: PixelPlan) -> None:
        self.model, self.run = model, run
        self.learner = Learner(
            model,
            partial(bits, model),
            lambda own: [torch.optim.Adam(own.parameters(), plan.lr, betas=plan.betas)],
            plan.schedule,
            decay=plan.average,
            clip_norm=plan.clip_norm,
        )

    def step(self, step: int, values: Tensor, classes: Tensor | None) -> dict[str, float]:
        """One update on levels [B, C, H, W] and their classes [B]."""
        with self.run.seeded(step):  # dropout's own randomness
            return {
                "bits": self.learner.update(step, [partial(self.learner.compute, values, classes)])
            }


@torch.no_grad()
def held_out_bits(model: nn.Module, values: Tensor, classes: Tensor | None, batch: int) -> float:
    """Mean bits per dimension of pictures that training doesn't see, a batch at a time."""
    total = 0.0
    for begin in range(0, len(values), batch):
        part = slice(begin, begin + batch)
        of = None if classes is None else classes[part]
        total += float(bits(model, values[part], of)) * len(values[part])
    return total / len(values)
