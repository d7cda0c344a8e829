from dataclasses import replace
from itertools import product

import pytest
import torch

from models.configs.rq import RQVAEConfig
from models.presets.register import get_preset
from models.stage1.rq_vae import RQVAE, ResidualQuantizer
from tests.models.rq_sets import configs, recorded, stage1_of

NAME = "rq_uncond_variants"  # 2×2 vectors folded into one, a codebook for each depth


def _config(**changed: object) -> RQVAEConfig:
    tiny = get_preset("tiny-rq").stage1
    assert isinstance(tiny, RQVAEConfig)
    return replace(tiny, **changed)  # type: ignore[arg-type]  # a test's own fields


def _quantizer(config: RQVAEConfig) -> ResidualQuantizer:
    torch.manual_seed(0)
    return ResidualQuantizer(config).requires_grad_(False)


@pytest.fixture(scope="module")
def stage1() -> RQVAE:
    return stage1_of(NAME)


@torch.inference_mode()
def test_images_become_the_recorded_codes(stage1: RQVAE) -> None:
    wanted = recorded(NAME)
    features = stage1.features(wanted["enc_images"])
    torch.testing.assert_close(
        features.permute(0, 2, 3, 1), wanted["enc_prequant"], atol=2e-4, rtol=0
    )
    assert torch.equal(stage1.quantizer(stage1.fold(features)), wanted["enc_codes"])
    assert torch.equal(stage1.encode(wanted["enc_images"] * 0.5 + 0.5), wanted["enc_codes"])


@torch.inference_mode()
def test_codes_become_the_recorded_pixels(stage1: RQVAE) -> None:
    wanted = recorded(NAME)
    codes = wanted["dec_codes"]
    made = {
        "dec_raw": stage1.decode(codes),
        "dec_pixels": stage1.pixels(codes),
        "dec_partial_add_1": stage1.decode(codes[:1, :, :2]),
        "dec_partial_select_1": stage1.decode_one(codes[:1], 1),
        "enc_recon_raw": stage1.decode(wanted["enc_codes"][:1]),
    }
    for name, pixels in made.items():
        torch.testing.assert_close(pixels, wanted[name], atol=2e-4, rtol=0)
    coarse = (made["dec_partial_add_1"] * 0.5 + 0.5).clamp(0, 1)
    assert torch.equal(stage1.pixels(codes[:1, :, :2]), coarse)


@torch.inference_mode()
def test_soft_targets_are_the_recorded_ones(stage1: RQVAE) -> None:
    wanted = recorded(NAME)
    vectors = stage1.fold(stage1.features(wanted["enc_images"]))
    targets, codes = stage1.quantizer.soft(vectors, 0.5)
    assert torch.equal(codes, wanted["enc_codes"])
    soft = torch.stack(targets, 2)[:1].view(wanted["soft_codes_temp05"].shape)
    torch.testing.assert_close(soft, wanted["soft_codes_temp05"], atol=1e-5, rtol=0)


def test_folding_joins_neighbours_row_by_row_and_comes_back() -> None:
    config = _config(grid=(2, 4, 4))
    with torch.device("meta"):
        stage1 = RQVAE(config)
    features = torch.randn(3, 8, 4, 4)
    vectors = stage1.fold(features)
    assert vectors.shape == (3, 8, 16)
    for row, column in product(range(2), range(4)):
        patch = [features[:, :, 2 * row + offset, column] for offset in range(2)]
        assert torch.equal(vectors[:, 4 * row + column], torch.cat(patch, 1))
    assert torch.equal(stage1.unfold(vectors), features)


@pytest.mark.parametrize("is_shared", [True, False])
def test_each_depth_takes_the_nearest_to_what_is_left(is_shared: bool) -> None:
    sizes = (48,) * 4 if is_shared else (48, 30, 20, 9)
    quantizer = _quantizer(_config(shared_codebook=is_shared, n_embed=sizes))
    vectors = torch.randn(2, 16, 8)
    left = vectors.clone()
    codes = quantizer(vectors)
    for depth in range(4):
        nearest = torch.cdist(left.flatten(0, 1), quantizer.book(depth)).argmin(1).view(2, 16)
        assert torch.equal(codes[..., depth], nearest)
        left -= quantizer.book(depth)[nearest]
    torch.testing.assert_close(quantizer.vectors(codes).sum(2) + left, vectors)
    assert quantizer.vectors(codes[..., :2]).shape == (2, 16, 2, 8)
    assert len(quantizer.codebooks) == (1 if is_shared else 4)


def test_drawn_codes_follow_their_probabilities_and_lead_on() -> None:
    quantizer = _quantizer(_config(n_embed=(5,) * 4))
    vectors = torch.randn(1, 1, 8).expand(1, 4000, 8)
    targets, codes = quantizer.soft(vectors, 2.0, torch.Generator().manual_seed(0))
    share = torch.bincount(codes[0, :, 0], minlength=5) / 4000
    assert (share - targets[0][0, 0]).abs().max() < 0.03
    left = vectors - quantizer.vectors(codes[..., :1])[..., 0, :]
    second = (-quantizer.distances(left, 1) / 2.0).softmax(-1)
    torch.testing.assert_close(targets[1], second)


def test_the_official_shape_has_the_official_encoder() -> None:
    with torch.device("meta"):
        state = RQVAE(RQVAEConfig()).state_dict()
    assert state["encoder.conv_out.weight"].shape == (256, 512, 3, 3)
    assert "encoder.down.5.attn.1.q.weight" in state
    assert configs(NAME)[0].code_dim == 64
