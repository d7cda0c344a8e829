from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.configs.hq import HQTransformerConfig, HQVAEConfig
from models.errors import ConfigError
from models.presets.register import get_preset
from models.stage1.hq_vae import HQVAE, soft_cells
from models.stage2.hq_transformer import HQTransformer
from models.train.loop.engine import Engine
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes import hq_transformer
from models.train.recipes.prior import Examples, PriorPlan, PriorTrainer

PLAN = PriorPlan(Schedule(30, warm_up=1), None, 5e-3, text_weight=None)


def codec() -> HQVAE:
    config = get_preset("tiny-hq").stage1
    assert isinstance(config, HQVAEConfig)
    torch.manual_seed(0)
    return HQVAE(config).eval().requires_grad_(False)


def examples(stage1: HQVAE) -> Examples:
    images = torch.rand((3, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = stage1.encode(images * 0.5 + 0.5)
    return Examples(torch.arange(24).view(3, 8), codes, stage1.features(images))


def trainer(
    folder: Path,
    stage1: HQVAE | None,
    plan: PriorPlan,
    tau: float | None,
    engine: Engine | None = None,
) -> PriorTrainer:
    config = get_preset("tiny-hq").stage2
    assert isinstance(config, HQTransformerConfig)
    torch.manual_seed(0)
    model = HQTransformer(replace(config, temp_soft_labels=tau, weight_img=1.0, weight_txt=0.0))
    loss, looked_up = hq_transformer.loss, hq_transformer.LOOKED_UP
    return PriorTrainer(model, stage1, Run(folder, 0), plan, loss, looked_up, engine=engine)


def test_soft_targets_are_in_the_order_of_the_cells_codes() -> None:
    stage1 = codec()
    batch = examples(stage1)
    assert batch.features is not None
    soft = soft_cells(stage1.soft(batch.features, 0.5))
    assert torch.equal(torch.stack([target.argmax(-1) for target in soft], -1), batch.codes)


def test_it_learns_soft_targets_by_heart_and_hard_ones_are_their_limit(tmp_path: Path) -> None:
    stage1 = codec()
    batch = examples(stage1)
    soft = trainer(tmp_path, stage1, PLAN, tau=1e-6)
    hard = trainer(tmp_path, stage1, PLAN, tau=None)
    losses = [soft.step(step, batch)["loss"] for step in range(30)]
    assert losses[0] == pytest.approx(hard.step(0, batch)["loss"], rel=1e-3)
    assert losses[-1] < 0.7 * losses[0]


def test_what_it_can_not_do_is_said(tmp_path: Path) -> None:
    stage1 = codec()
    batch = examples(stage1)
    with pytest.raises(ConfigError, match="--soft"):
        trainer(tmp_path, stage1, PLAN, 0.5).step(0, replace(batch, features=None))
    with pytest.raises(ConfigError, match="--stage1"):
        trainer(tmp_path, None, PLAN, 0.5).step(0, batch)
    with pytest.raises(ConfigError, match="weight_txt"):
        trainer(tmp_path, stage1, replace(PLAN, text_weight=0.1), None).step(0, batch)


def test_own_codes_are_the_models_draws_in_as_many_places_as_asked(tmp_path: Path) -> None:
    stage1 = codec()
    batch, model = examples(stage1), trainer(tmp_path, stage1, PLAN, None).model
    assert isinstance(model, HQTransformer)
    batch = Examples(batch.prefix.repeat(9, 1), batch.codes.repeat(9, 1, 1))
    with torch.no_grad():
        # Of the finer codes only the likeliest is drawn.
        model.get_parameter("head_levels.1.weight").mul_(1e4)
        likeliest = model(batch.prefix, batch.codes)[0][..., 1:, :].argmax(-1)
    for share in (1.0, 0.25):
        rng = torch.Generator().manual_seed(0)
        seen = hq_transformer.with_own_codes(model, batch, share, rng)
        assert torch.equal(seen[..., 0], batch.codes[..., 0])
        is_own = seen[..., 1:] != batch.codes[..., 1:]
        assert torch.equal(seen[..., 1:][is_own], likeliest[is_own])
        could_be = likeliest != batch.codes[..., 1:]
        assert int(is_own.sum()) == pytest.approx(share * int(could_be.sum()), rel=0.1)


def test_the_pass_that_draws_takes_no_gradient_away(tmp_path: Path) -> None:
    """Autocast keeps a weight's cast, and one that was made without gradients would be used on."""
    stage1 = codec()
    engine = Engine(precision=torch.bfloat16)
    gradients = []
    for share in (0.0, 1e-9):
        learnt = trainer(tmp_path, stage1, replace(PLAN, own_codes=share), None, engine)
        learnt.step(0, examples(stage1))
        gradients.append([weight.grad for weight in learnt.model.parameters()])
    for plain, own in zip(*gradients, strict=True):
        assert (plain is None) == (own is None)
        assert plain is None or torch.equal(plain, own)
