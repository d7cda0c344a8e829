"""A critic that learns to tell what a codec makes from pictures (Isola et al. 2017, "PatchGAN").

One for every codec. Hinge losses, and the codec's share weighed so that it pulls at the decoder's
last layer as much as the reconstruction does (Esser et al. 2021). Knows no codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.optim import Adam

from models.train.loop.engine import Engine
from models.train.loop.learner import Stateful
from models.train.loop.processes import mean
from models.train.loop.schedule import Schedule

LAST_LAYER = "decoder.conv_out.weight"  # every codec's
_LARGEST = 1e4  # of the weight, where the critic's pull is hardly there


def patch_critic(width: int = 64, num_halvings: int = 2) -> nn.Sequential:
    """Pictures [B, 3, H, W] → a verdict on each patch [B, 1, h, w], high for real ones."""
    widths = [min(width * 2**level, width * 8) for level in range(num_halvings + 1)]
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True)]
    for level, (before, after) in enumerate(pairwise(widths), 1):
        stride = 2 if level < num_halvings else 1
        layers += [
            nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2, True),
        ]
    critic = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))
    for module in critic:
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return critic


class Adversary:
    """See `Critic`.

    Args:
        last_layer: the codec's last weights.
        schedule: of the critic's learning rate.
        weight: of both losses.
        start: the first step that hears the critic; before it, neither learns of the other.
        lr: the critic's.
        engine: how it computes.
    """

    def __init__(
        self,
        last_layer: Tensor,
        schedule: Schedule,
        *,
        weight: float = 0.75,
        start: int = 0,
        lr: float = 4e-5,
        engine: Engine | None = None,
    ) -> None:
        self.last_layer, self.schedule = last_layer, schedule
        self.weight, self.start = weight, start
        self.model = patch_critic()
        self._judge = (engine or Engine()).prepared(self.model, self._loss)
        self.optimiser = Adam(self.model.parameters(), lr=lr, betas=(0.5, 0.9))

    @property
    def state(self) -> Mapping[str, Stateful]:
        """See Critic."""
        return {"critic": self.model, "critic_optimiser": self.optimiser}

    def loss(self, step: int, made: Tensor, images: Tensor, so_far: Tensor) -> Tensor:
        """See Critic: how badly the critic is fooled, weighed."""
        if step < self.start:
            return so_far.new_zeros(())
        fooling: Tensor = -self.model(made).mean()
        return self.weight * self._balance(so_far, fooling) * fooling

    def learn(self, step: int, made: Tensor, images: Tensor) -> dict[str, float]:
        """See Critic: real patches above 1, made ones below -1."""
        if step < self.start:
            return {}
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._judge(made, images)
        torch.autograd.backward(self.weight * loss)
        self.schedule.apply(self.optimiser, step)
        self.optimiser.step()
        return {"critic": mean(loss.detach())}

    def _loss(self, made: Tensor, images: Tensor) -> Tensor:
        loss: Tensor = relu(1 - self.model(images)).mean() + relu(1 + self.model(made)).mean()
        return 0.5 * loss

    def _balance(self, so_far: Tensor, fooling: Tensor) -> Tensor:
        """How much harder the loss so far pulls at the last layer than the critic."""
        pulls = [
            torch.autograd.grad(loss, self.last_layer, retain_graph=True)[0].norm()
            for loss in (so_far, fooling)
        ]
        ratio: Tensor = pulls[0] / (pulls[1] + 1e-4)
        return ratio.clamp(0, _LARGEST).detach()
