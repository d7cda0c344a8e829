from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from models.stage1.hq_vae import HQVAE
from models.stage2.transformer import Transformer
from models.train.loop.engine import Engine
from models.train.loop.learner import Learner
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes import hq_vae, transformer
from models.train.recipes.codec import CodecPlan, CodecTrainer
from models.train.recipes.prior import Examples, PriorPlan, PriorTrainer
from models.train.start import initialise
from tests.models.mindalle import shape
from tests.models.train.recipes.test_hq_vae import SHAPE, pictures

PLAIN, LOWER = None, torch.bfloat16


def codec_after(folder: Path, precision: torch.dtype | None) -> tuple[float, HQVAE]:
    """The first loss of an HQ codec's training, and the model after it."""
    torch.manual_seed(0)
    plan = CodecPlan(Schedule(60, warm_up=2), unquantised=-1)
    model, run = HQVAE(SHAPE), Run(folder, 0)
    trainer = CodecTrainer(
        model, run, plan, hq_vae.codes_of(model, run, plan), engine=Engine(precision=precision)
    )
    return trainer.step(0, pictures(0))["loss"], model


def test_a_codec_learns_much_the_same_and_keeps_float32_weights(tmp_path: Path) -> None:
    plain, _ = codec_after(tmp_path, PLAIN)
    lower, model = codec_after(tmp_path, LOWER)
    assert 0 < abs(plain - lower) < 0.01 * plain
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert model.encoder(torch.zeros(1, 3, 32, 32)).dtype == torch.float32


def test_a_scale_that_was_found_is_kept(tmp_path: Path) -> None:
    plan = PriorPlan(Schedule(9, warm_up=1))

    def learner(precision: torch.dtype | None) -> Learner:
        model, engine = Transformer(shape("tiny")), Engine(precision=precision)
        run = Run(tmp_path, 0)
        return PriorTrainer(model, None, run, plan, transformer.loss, engine=engine).learner

    state = learner(torch.float16).state()
    state["scaler"] = {**cast(dict[str, float], state["scaler"]), "scale": 8.0}
    again = learner(torch.float16)
    again.restore(state)
    assert cast(dict[str, float], again.state()["scaler"])["scale"] == 8.0
    learner(PLAIN).restore(state)
    again.restore(learner(PLAIN).state())  # a run may go on in other numbers
    del state["scaler"]  # as the last release has it
    again.restore(state)


def test_a_prior_learns_much_the_same(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    ids, codes = (torch.randint(2, 60, (6, n), generator=generator) for n in (8, 16))
    losses = []
    for precision in (PLAIN, LOWER, torch.float16):
        model = Transformer(shape("tiny"))
        initialise(model, 0)
        plan, engine = PriorPlan(Schedule(9, warm_up=1)), Engine(precision=precision)
        trainer = PriorTrainer(model, None, Run(tmp_path, 0), plan, transformer.loss, engine=engine)
        losses.append([trainer.step(step, Examples(ids, codes))["loss"] for step in range(3)])
    for plain, lower, half in zip(*losses, strict=True):
        assert 0 < abs(plain - lower) < 0.01 * plain
        assert 0 < abs(plain - half) < 0.01 * plain
