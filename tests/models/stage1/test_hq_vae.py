from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from models.configs.hq import HQVAEConfig
from models.files.checkpoint import load_stage1, open_checkpoint
from models.stage1.hq_vae import HQVAE, to_cells, to_grids
from tests.models.golden import GOLDEN, arrays, facts

# conv without middle block and attention; nearest, gradient codebook, no initial down-sampling;
# pixelshuffle by four.
SETS = tuple(f"hq_variants/{name}" for name in ("bidirectional", "causal", "ratio16"))
TINY = HQVAEConfig(
    embed_dim=4,
    n_embed=(24, 20),
    z_channels=8,
    resolution=32,
    ch=8,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(8,),
    patch_size=2,
    norm_groups=4,
)


def recorded(name: str) -> tuple[HQVAE, dict[str, Tensor]]:
    """A set's stage 1 with its weights, and its arrays."""
    model = load_stage1(open_checkpoint(GOLDEN / name))
    assert isinstance(model, HQVAE)
    return model, {key: torch.from_numpy(value) for key, value in arrays(name).items()}


def tiny(config: HQVAEConfig = TINY) -> HQVAE:
    torch.manual_seed(0)
    return HQVAE(config).eval().requires_grad_(False)


@pytest.mark.parametrize("name", SETS)
def test_images_have_the_references_features_and_codes(name: str) -> None:
    model, expected = recorded(name)
    features = model.features(expected["enc_images"])
    torch.testing.assert_close(features, expected["enc_prequant"], atol=2e-4, rtol=0)
    top, bottom = model.quantise(features)
    torch.testing.assert_close(bottom.wanted[:1], expected["enc_residual"], atol=2e-4, rtol=0)
    assert torch.equal(top.codes, expected["enc_codes_top"].long())
    assert torch.equal(bottom.codes, expected["enc_codes_bot"].long())


@pytest.mark.parametrize("name", SETS)
def test_codes_have_the_references_pixels(name: str) -> None:
    model, expected = recorded(name)
    top, bottom = (expected[f"dec_codes_{level}"].long() for level in ("top", "bot"))
    torch.testing.assert_close(model.decode([top, bottom]), expected["dec_raw"], atol=2e-4, rtol=0)
    pixels = model.pixels(to_cells([top, bottom]))
    torch.testing.assert_close(pixels, expected["dec_pixels"], atol=2e-4, rtol=0)
    only_top, only_bottom = model.decode([top[:1], None]), model.decode([None, bottom[:1]])
    torch.testing.assert_close(only_top, expected["dec_top_only_raw"], atol=2e-4, rtol=0)
    torch.testing.assert_close(only_bottom, expected["dec_bot_only_raw"], atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", SETS[::2])
def test_soft_codes_are_the_references(name: str) -> None:
    model, expected = recorded(name)
    temperature = facts(name)["temp_soft_labels"]
    top, bottom = model.soft_codes(expected["enc_images"][:1], temperature)
    torch.testing.assert_close(top[0].flatten(0, 1), expected["soft_top"], atol=1e-5, rtol=0)
    torch.testing.assert_close(bottom[0, :2], expected["soft_bot_rows2"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SETS)
def test_what_is_left_over_has_the_references_size(name: str) -> None:
    model, expected = recorded(name)
    top, bottom = model.quantise(model.features(expected["enc_images"]))
    losses = facts(name)["vae"]
    # The gradient codebook's term has the commitment's value, at weight 1 beside its 0.25.
    weight = 1.25 if name.endswith("causal") else 0.25
    for level, key in ((top, "commit_top"), (bottom, "commit_bot")):
        error = weight * float((level.wanted - level.vectors).square().mean())
        assert error == pytest.approx(losses[key], rel=1e-3)
    assert float(bottom.wanted.abs().mean()) == pytest.approx(losses["resid_l1"], rel=1e-3)


@pytest.mark.parametrize("resize", ["pixelshuffle", "nearest", "conv"])
def test_three_levels_sum_to_what_the_decoder_sees(resize: Any) -> None:
    config = replace(TINY, n_embed=(24, 20, 16), resize=resize, join="sum")
    model = tiny(config)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    levels = model.quantise(model.features(images))
    codes = [level.codes for level in levels]
    assert [grid.shape[-1] for grid in codes] == [2, 4, 8] == list(config.sides)
    first, second, third = (model.quantizer(i).lookup(grid) for i, grid in enumerate(codes))
    up = model.upsamples
    total = up[1](up[0](first) + second) + third
    made = model.decoder(model.post_quant_conv(total))
    torch.testing.assert_close(model.decode(codes), made)
    rest = model.features(images) - up[1](up[0](first) + second)
    torch.testing.assert_close(levels[2].wanted, rest)


def test_a_level_left_out_is_zeros() -> None:
    model = tiny()
    bottom = torch.randint(20, (2, 8, 8))
    vectors = [torch.zeros(2, 16, 4, 4), model.quantizer(1).lookup(bottom)]
    torch.testing.assert_close(model.decode([None, bottom]), model.decode_vectors(vectors))


def test_pixels_become_cells_of_codes_and_back() -> None:
    model = tiny()
    pixels = torch.rand(3, 3, 32, 32)
    codes = model.encode(pixels)
    assert codes.shape == (3, *model.code_shape) == (3, 16, 5)
    assert int(codes[..., 0].max()) < 24
    assert int(codes[..., 1:].max()) < 20
    made = model.pixels(codes)
    assert made.shape == pixels.shape
    top, bottom = to_grids(codes, model.config.sides)
    torch.testing.assert_close(made, (model.decode([top, bottom]) * 0.5 + 0.5).clamp(0, 1))


@pytest.mark.parametrize("depths", [1, 3])
def test_an_unfinished_level_is_not_shown(depths: int) -> None:
    model = tiny()
    codes = model.encode(torch.rand(2, 3, 32, 32))
    top = to_grids(codes, model.config.sides)[0]
    coarse = (model.decode([top, None]) * 0.5 + 0.5).clamp(0, 1)
    torch.testing.assert_close(model.pixels(codes[:, :, :depths]), coarse)


def test_levels_with_one_codebook_use_the_coarsest() -> None:
    config = replace(TINY, n_embed=(24, 24), resize="nearest", has_shared_codebook=True)
    model = tiny(config)
    assert model.quantizer(1) is model.quantizer(0)
    assert [name for name in model.state_dict() if "quantizers" in name] == [
        "quantizers.0.embedding.weight"
    ]


def test_a_cell_holds_the_codes_below_it_row_by_row() -> None:
    grids = [torch.arange(4).view(1, 2, 2), torch.arange(16).view(1, 4, 4)]
    cells = to_cells(grids)
    assert cells.tolist() == [
        [[0, 0, 1, 4, 5], [1, 2, 3, 6, 7], [2, 8, 9, 12, 13], [3, 10, 11, 14, 15]]
    ]


@pytest.mark.parametrize(("n_embed", "ratio"), [((9, 9), 2), ((9, 9, 9), 2), ((9, 9), 4)])
def test_grids_are_cells_again(n_embed: tuple[int, ...], ratio: int) -> None:
    config = replace(TINY, n_embed=n_embed, ratio=ratio)
    grids = [torch.randint(9, (2, side, side)) for side in config.sides]
    cells = to_cells(grids)
    assert cells.shape == (2, *config.code_shape)
    again = to_grids(cells, config.sides)
    assert all(torch.equal(a, b) for a, b in zip(grids, again, strict=True))
    assert all(b == a * ratio for a, b in pairwise(config.sides))


def test_the_released_shape_has_the_released_tensors() -> None:
    config = HQVAEConfig(ch_mult=(1, 2, 4, 4), attn_resolutions=(16,), use_init_downsample=True)
    with torch.device("meta"):
        model = HQVAE(config)
    state = model.state_dict()
    assert config.sides == (8, 16)
    assert sum(tensor.numel() for tensor in state.values()) == 89_460_355 + 8192 * (1024 + 256)
    assert len(state) == 286 - 4  # the moving averages of two codebooks are not ours
    assert "encoder.down.3.attn.0.q.weight" not in state
    assert "decoder.up.3.attn.2.q.weight" in state
    assert state["encoder.conv_in.weight"].shape == (128, 3, 4, 4)
    assert "decoder.up.0.upsample.conv.weight" in state
