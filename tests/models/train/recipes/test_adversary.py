from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.train.loop.schedule import Schedule
from models.train.recipes.adversary import Adversary, patch_critic


def codec() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, 3, 1)


def pictures(seed: int) -> Tensor:
    return torch.rand((4, 3, 32, 32), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_critic_is_the_papers() -> None:
    critic = patch_critic()
    shapes = [tuple(m.weight.shape) for m in critic if isinstance(m, nn.Conv2d)]
    assert shapes == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (1, 256, 4, 4)]
    assert critic(pictures(0)).shape == (4, 1, 6, 6)


def test_it_pulls_at_the_last_layer_as_much_as_the_loss_so_far() -> None:
    model, images = codec(), pictures(0)
    adversary = Adversary(model.weight, Schedule(9), weight=0.5)
    made = model(images)
    so_far = (made - images).square().mean()
    loss = adversary.loss(0, made, images, so_far)
    pulls = [
        torch.autograd.grad(part, model.weight, retain_graph=True)[0].norm().item()
        for part in (so_far, loss)
    ]
    assert pulls[1] == pytest.approx(0.5 * pulls[0], rel=0.05)


def test_it_learns_to_tell_what_is_made() -> None:
    model, images = codec(), pictures(0)
    adversary = Adversary(model.weight, Schedule(40, warm_up=1), lr=1e-3)
    made = images.flip(1) * 0.5
    found = [adversary.learn(step, made, images)["critic"] for step in range(12)]
    assert found[0] == pytest.approx(1.0, abs=0.5)
    assert found[-1] < 0.5 * found[0]


def test_before_its_first_step_it_neither_speaks_nor_learns() -> None:
    model, images = codec(), pictures(0)
    adversary = Adversary(model.weight, Schedule(9), start=3)
    before = [weight.clone() for weight in adversary.model.parameters()]
    assert adversary.loss(2, model(images), images, images.mean()) == 0
    assert adversary.learn(2, images, images) == {}
    after = adversary.model.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
