from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.presets.register import get_preset
from models.stage1.rq_vae import RQVAE, commitment_loss
from models.stage2.rq_transformer import RQTransformer
from models.train.loop.checkpoints import Checkpoints, load
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes import rq_transformer
from models.train.recipes.codebook_averages import CodebookAverages
from models.train.recipes.codec import CodecTrainer
from models.train.recipes.prior import Examples, PriorPlan, PriorTrainer
from models.train.recipes.rq_vae import RQCodes, plan_of
from tests.models.golden import facts
from tests.models.rq_sets import recorded, stage1_of

NAME = "rq_uncond_variants"


@torch.inference_mode()
def test_stage_1_has_the_recorded_losses() -> None:
    model, images, wanted = stage1_of(NAME), recorded(NAME)["enc_images"], facts(NAME)["loss"]
    vectors = model.fold(model.features(images))
    codes = model.quantizer(vectors)
    made = model.decode(codes)
    reconstruction = float(model.reconstruction_loss(made, images))
    commitment = float(commitment_loss(vectors, model.quantizer.vectors(codes).cumsum(2)))
    assert reconstruction == pytest.approx(wanted["vae_recon_loss"], abs=1e-3)
    assert commitment == pytest.approx(wanted["vae_commitment_loss"], abs=1e-3)
    total = reconstruction + model.config.latent_loss_weight * commitment
    assert total == pytest.approx(wanted["vae_loss_total"], abs=1e-3)


def test_a_code_becomes_the_mean_of_the_vectors_that_choose_it() -> None:
    averages = CodebookAverages(torch.zeros(3, 2), decay=0.5, restarts=False)
    rng = torch.Generator()
    vectors, codes = torch.tensor([[1.0, 0], [3, 0], [0, 8]]), torch.tensor([0, 0, 2])
    for _ in range(30):
        averages.update(vectors, codes, rng)
    assert averages.counts.tolist() == pytest.approx([2, 0, 1], abs=1e-6)
    torch.testing.assert_close(averages.book()[[0, 2]], torch.tensor([[2.0, 0], [0, 8]]))


@pytest.mark.parametrize("num_vectors", [5, 50])
def test_a_code_that_nothing_chooses_starts_anew_at_a_vector_of_the_batch(num_vectors: int) -> None:
    averages = CodebookAverages(torch.full((9, 4), 50.0), 0.9, restarts=True, patience=1.05)
    vectors = torch.randn(num_vectors, 4)
    codes = torch.zeros(num_vectors, dtype=torch.int64)
    averages.update(vectors, codes, torch.Generator().manual_seed(0))
    assert averages.counts[1:].tolist() == [1.0] * 8
    distances = torch.cdist(averages.sums[1:], vectors).amin(1)
    assert (distances < 0.02).all()
    assert torch.unique(averages.sums[1:], dim=0).shape[0] == 8


def test_a_shared_codebook_is_updated_at_every_depth_in_turn(tmp_path: Path) -> None:
    model = _stage1("tiny-rq")
    trainer = _stage1_trainer(model, Run(tmp_path, 0), patience=100.0)
    images = _images(2)
    left = model.fold(model.features(images)).detach().flatten(0, 1)
    plain = CodebookAverages(model.quantizer.book(0).clone(), 0.99, restarts=True, patience=100.0)
    rng, book = trainer.run.torch_rng(0), model.quantizer.book(0).clone()
    for _ in range(4):
        codes = torch.cdist(left, book).argmin(1)
        chosen = book[codes]
        plain.update(left, codes, rng)
        left, book = left - chosen, plain.book()
    trainer.step(0, images)
    torch.testing.assert_close(model.quantizer.book(0), book)
    assert [name for name in trainer.codes.state["averages"].state_dict()] == ["0.counts", "0.sums"]


@pytest.mark.parametrize("name", ["tiny-rq", "tiny-rq-class", "tiny-rq-uncond"])
@torch.no_grad()
def test_starting_codes_are_near_what_the_encoder_makes(name: str, tmp_path: Path) -> None:
    model = _stage1(name)
    vectors = model.fold(model.features(_images(1)))

    def error() -> float:
        found = model.quantizer.vectors(model.quantizer(vectors)).sum(2)
        return float((found - vectors).square().mean())

    before = error()
    codes = _stage1_trainer(model, Run(tmp_path, 0)).codes
    many = torch.cat([_images(step) for step in range(8)])
    codes.start(many, torch.Generator().manual_seed(0))
    assert error() < 0.1 * before
    books = [model.quantizer.book(depth) for depth in range(model.config.grid[2])]
    assert all(len(torch.unique(book, dim=0)) > 0.9 * len(book) for book in books)


@pytest.mark.parametrize("name", ["tiny-rq", "tiny-rq-class", "tiny-rq-uncond"])
def test_a_resumed_run_of_stage_1_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    whole, first, second = (_stage1_trainer(_stage1(name), Run(tmp_path, 3)) for _ in range(3))
    for step in range(4):
        values = whole.step(step, _images(step))
    for step in range(2):
        first.step(step, _images(step))
    Checkpoints(tmp_path, 1).save(first.learner.state())
    second.learner.restore(load(tmp_path / "checkpoints" / "000002"))
    again = [second.step(step, _images(step)) for step in range(second.learner.next_step, 4)]
    assert again[-1] == values
    _assert_same(whole.model, second.model)


@pytest.mark.parametrize("name", ["tiny-rq", "tiny-rq-class", "tiny-rq-uncond"])
def test_a_resumed_run_of_stage_2_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    whole, first, second = (_stage2_trainer(name, tmp_path) for _ in range(3))
    losses = [whole.step(step, _examples(whole, step))["loss"] for step in range(4)]
    for step in range(2):
        first.step(step, _examples(first, step))
    Checkpoints(tmp_path, 1).save(first.learner.state())
    second.learner.restore(load(tmp_path / "checkpoints" / "000002"))
    again = [second.step(step, _examples(second, step))["loss"] for step in (2, 3)]
    assert again == losses[2:]
    _assert_same(whole.model, second.model)


def test_stage_2_learns_and_leaves_stage_1_alone(tmp_path: Path) -> None:
    plan = PriorPlan(Schedule(40, warm_up=1), None, 5e-3, tau=1e-3, draws_codes=False)
    trainer = _stage2_trainer("tiny-rq-class", tmp_path, plan)
    assert trainer.codec is not None
    before = {k: v.clone() for k, v in trainer.codec.state_dict().items()}
    examples = _examples(trainer, 0)
    losses = [trainer.step(step, examples)["loss"] for step in range(40)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(before[k], v) for k, v in trainer.codec.state_dict().items())


def test_without_features_the_codes_themselves_are_learnt(tmp_path: Path) -> None:
    trainer = _stage2_trainer("tiny-rq-class", tmp_path)
    assert isinstance(trainer.model, RQTransformer)
    hard = replace(_examples(trainer, 0), features=None)
    expected = trainer.model.loss(hard.prefix, hard.codes).item()
    assert trainer.step(0, hard)["loss"] == pytest.approx(expected)


def test_the_text_has_its_share_of_the_loss() -> None:
    model = _stage2("tiny-rq", _stage1("tiny-rq")).eval()
    prefix, codes = torch.randint(99, (2, 8)), torch.randint(64, (2, 16, 4))
    targets = list(torch.nn.functional.one_hot(codes, 64).float().unbind(2))
    image = model.loss(prefix, codes, targets)
    text = model(prefix, codes)[1].log_softmax(-1).gather(-1, prefix[:, 1:, None])
    both = model.loss(prefix, codes, targets, text_weight=0.25)
    torch.testing.assert_close(both, 0.75 * image - 0.25 * text.mean())


def _stage1(name: str) -> RQVAE:
    config = get_preset(name).stage1
    assert isinstance(config, RQVAEConfig)
    torch.manual_seed(0)
    return RQVAE(config)


def _stage2(name: str, stage1: RQVAE) -> RQTransformer:
    config = get_preset(name).stage2
    assert isinstance(config, RQTransformerConfig)
    torch.manual_seed(0)
    model = RQTransformer(config)
    model.share(stage1.quantizer.vector)
    return model


def _stage1_trainer(model: RQVAE, run: Run, patience: float = 0.0) -> CodecTrainer:
    plan = replace(plan_of(model, 4, is_fine_tuning=False), unquantised=-1, patience=patience)
    plan = replace(plan, fewest=1.0)
    return CodecTrainer(model, run, plan, RQCodes(model, run, plan))


def _stage2_trainer(name: str, folder: Path, plan: PriorPlan | None = None) -> PriorTrainer:
    stage1 = _stage1(name)
    plan = plan or PriorPlan(Schedule(4, warm_up=1), text_weight=0.1)
    model, run = _stage2(name, stage1), Run(folder, 3)
    return PriorTrainer(model, stage1, run, plan, rq_transformer.loss, rq_transformer.LOOKED_UP)


def _examples(trainer: PriorTrainer, step: int) -> Examples:
    """Three pictures behind three prompts, with the features that their codes are of."""
    model, codec = trainer.model, trainer.codec
    assert isinstance(model, RQTransformer)
    assert isinstance(codec, RQVAE)
    length, largest = model.config.prompt_len, model.config.prompt_vocab_size - 1
    prefix = torch.arange(3 * length).view(3, length).clamp(max=largest)
    images = _images(step)
    with torch.no_grad():
        return Examples(prefix, codec.encode(images * 0.5 + 0.5), codec.features(images))


def _images(step: int) -> Tensor:
    return torch.rand((3, 3, 32, 32), generator=torch.Generator().manual_seed(step)) * 2 - 1


def _assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
