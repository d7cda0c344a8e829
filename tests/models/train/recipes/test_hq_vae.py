from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.configs.hq import HQVAEConfig, Resize
from models.stage1.hq_vae import HQVAE
from models.train.loop import processes
from models.train.loop.checkpoints import Checkpoints, load
from models.train.loop.run import Run
from models.train.loop.schedule import Schedule
from models.train.recipes.codec import CodecPlan, CodecTrainer, evaluate
from models.train.recipes.hq_vae import blurred, codes_of
from tests.models.train.torchrun import as_program, run_program

PROGRAM = "tests.models.train.recipes.test_hq_vae"

SHAPE = HQVAEConfig(
    embed_dim=4,
    n_embed=(16, 12),
    z_channels=8,
    resolution=32,
    ch=8,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(),
    patch_size=2,
    norm_groups=4,
    use_attn=False,
)


class Trained(CodecTrainer):
    """A trainer whose model is known to be an HQ-VAE."""

    model: HQVAE


def trainer(folder: Path, unquantised: int = 2) -> Trained:
    torch.manual_seed(0)
    plan = CodecPlan(Schedule(60, warm_up=2), unquantised=unquantised, restart_every=5)
    model, run = HQVAE(SHAPE), Run(folder, 0)
    return Trained(model, run, plan, codes_of(model, run, plan))


def pictures(step: int, number: int = 6) -> torch.Tensor:
    """Two-coloured halves, the same for the same step."""
    colours = torch.rand(number, 3, 2, generator=torch.Generator().manual_seed(step)) * 2 - 1
    return colours.repeat_interleave(16, dim=2)[:, :, None, :].expand(-1, -1, 32, -1)


@pytest.mark.parametrize("resize", ["pixelshuffle", "nearest", "conv"])
def test_unquantised_levels_make_the_whole_map_and_the_coarse_one_its_means(
    resize: Resize,
) -> None:
    model = HQVAE(replace(SHAPE, resize=resize))
    features = torch.randn(2, 4, 8, 8)
    coarse, fine = blurred(model, features)
    torch.testing.assert_close(model.upsamples[0](coarse) + fine, features)
    if resize != "conv":
        means = torch.nn.functional.avg_pool2d(features, 2)
        torch.testing.assert_close(model.upsamples[0](coarse)[:, :, ::2, 1::2], means)


def test_training_lowers_the_loss_and_uses_codes(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    before = evaluate(run.model, pictures(999))[0]
    for step in range(40):
        if step == 2:
            run.codes.start(pictures(1000, 24), torch.Generator().manual_seed(0))
        values = run.step(step, pictures(step))
    after = evaluate(run.model, pictures(999))[0]
    assert after["psnr"] > before["psnr"] + 2
    assert after["codes_0"] > 2
    assert {"perplexity_0", "perplexity_1", "commitment", "loss"} == set(values)


def test_starting_codes_are_near_what_the_encoder_makes(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.model.requires_grad_(False)
    images = pictures(3, 24)
    features = run.model.features(images)
    before = run.model.quantise(features)
    run.codes.start(images, torch.Generator().manual_seed(0))
    for old, new in zip(before, run.model.quantise(features), strict=True):
        error = (new.wanted - new.vectors).square().mean()
        assert error < 0.3 * (old.wanted - old.vectors).square().mean()


def test_the_encoder_learns_through_both_levels(tmp_path: Path) -> None:
    run = trainer(tmp_path, unquantised=0)
    levels = run.model.quantise(run.model.features(pictures(0)))
    for level in range(2):
        run.model.zero_grad()
        torch.autograd.backward(levels[level].wanted.square().sum(), retain_graph=True)
        assert run.model.encoder.conv_in.weight.grad is not None
        assert float(run.model.encoder.conv_in.weight.grad.abs().sum()) > 0


def test_a_restored_trainer_goes_on_as_the_one_before(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    parted = trainer(tmp_path / "parted")
    for step in range(4):
        whole.step(step, pictures(step))
        parted.step(step, pictures(step))
    Checkpoints(tmp_path, 1).save(parted.learner.state())
    again = trainer(tmp_path / "parted")
    again.learner.restore(load(tmp_path / "checkpoints" / "000004"))
    assert again.learner.next_step == 4
    for step in range(4, 7):
        assert whole.step(step, pictures(step)) == again.step(step, pictures(step))
    assert all(
        torch.equal(value, again.learner.average.weights[name])
        for name, value in whole.learner.average.weights.items()
    )


@pytest.mark.timeout(240)
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    _three_steps(one)
    run_program(PROGRAM, two, count=2)
    found = [torch.load(path, weights_only=True) for path in (one, two)]
    for part in ("model", "codebooks"):
        torch.testing.assert_close(found[0][part], found[1][part], atol=1e-4, rtol=1e-3)


def _three_steps(out: Path) -> None:
    """Train on this process's share of each batch, and keep what became of it."""
    torch.set_num_threads(1)
    run = trainer(out.parent / "run", unquantised=0)
    for step in range(3):
        images = pictures(step)
        run.step(step, images[processes.my_share(len(images))])
    if processes.is_first():
        torch.save(run.learner.state(), out)


if __name__ == "__main__":
    as_program(_three_steps)
