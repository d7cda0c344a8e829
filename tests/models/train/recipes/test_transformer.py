from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from models.stage2.transformer import Transformer
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes.prior import Examples, PriorPlan, PriorTrainer
from models.train.recipes.transformer import LOOKED_UP, loss, plan_of
from models.train.start import initialise
from tests.models.mindalle import shape


def tiny() -> Transformer:
    model = Transformer(shape("tiny"))
    initialise(model, 0)
    return model


def trainer(folder: Path, plan: PriorPlan) -> PriorTrainer:
    return PriorTrainer(tiny(), None, Run(folder, 0), plan, loss, LOOKED_UP)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randint(2, 60, (6, n), generator=generator) for n in (8, 16)]
    return draw[0], draw[1]


def test_it_learns_a_batch_by_heart(tmp_path: Path) -> None:
    learning = trainer(tmp_path, PriorPlan(Schedule(80, warm_up=5)))
    losses = [learning.step(step, Examples(*batch()))["loss"] for step in range(80)]
    assert losses[0] == pytest.approx(torch.log(torch.tensor(64.0)).item(), abs=0.2)
    assert losses[-1] < 2.5


def test_fine_tuning_clips_gradients_and_uses_the_reference_rate(tmp_path: Path) -> None:
    tuning = trainer(tmp_path, plan_of(10, is_fine_tuning=True))
    assert len(tuning.learner.optimisers) == 1
    tuning.step(0, Examples(*batch()))
    norms = [w.grad.norm() for w in tuning.model.parameters() if w.grad is not None]
    assert torch.stack(norms).norm() <= 4.0 + 1e-3
    assert tuning.learner.optimisers[0].param_groups[0]["lr"] == pytest.approx(1e-4)


def test_a_batch_in_parts_is_learnt_as_a_whole_one(tmp_path: Path) -> None:
    models = []
    for parts in (1, 4, 9):  # of 6 pictures
        learning = trainer(tmp_path, PriorPlan(Schedule(9, warm_up=1), accumulate=parts))
        losses = [learning.step(step, Examples(*batch()))["loss"] for step in range(3)]
        models.append((losses, learning.model.state_dict()))
    for losses, weights in models[1:]:
        assert models[0][0] == pytest.approx(losses, rel=1e-5)
        torch.testing.assert_close(models[0][1], weights, atol=1e-5, rtol=1e-3)


def test_the_text_has_its_weight_in_the_loss() -> None:
    model = tiny()
    ids, codes = batch()
    with torch.no_grad():
        image, text = model(ids, codes)
        assert text is not None
        image_loss = F.cross_entropy(image.flatten(0, 1), codes.flatten())
        text_loss = F.cross_entropy(text.flatten(0, 1), ids[:, 1:].flatten())
        torch.testing.assert_close(model.loss(ids, codes), image_loss)
        mixed = 0.875 * image_loss + 0.125 * text_loss
        torch.testing.assert_close(model.loss(ids, codes, 0.125), mixed)
