from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.transformer import StackConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.enhance.cell_upsampler import CellUpsampler
from models.enhancer import random_upsampler
from models.families import as_upsampler, build_upsampler
from models.files.weights import on_meta
from models.presets.register import get_preset
from models.stage1.hq_vae import in_cells, on_grid


def _upsampler() -> CellUpsampler:
    enhancement = get_preset("tiny-enhance").enhancement
    assert enhancement is not None
    model = random_upsampler(enhancement, 0).eval().requires_grad_(False)
    assert isinstance(model, CellUpsampler)
    return model


def _codes(count: int, seed: int = 0) -> Tensor:
    return torch.randint(64, (count, 16, 1), generator=torch.Generator().manual_seed(seed))


def _pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_a_cell_has_the_finer_codes_that_lie_in_it() -> None:
    grid = torch.arange(64).view(1, 8, 8)
    cells = in_cells(grid, 4)
    assert cells[0, 0].tolist() == [0, 1, 8, 9]
    assert cells[0, 5].tolist() == [18, 19, 26, 27]
    assert torch.equal(on_grid(cells, 4), grid)


def test_every_cell_is_drawn_in_the_light_of_every_other() -> None:
    model, codes = _upsampler().double(), _codes(1)
    logits = model.logits(codes)
    assert logits.shape == (1, 16, 4, 48)
    for changed in (0, 15):
        other = codes.clone()
        other[0, changed] = (other[0, changed] + 1) % 64
        differs = (model.logits(other) != logits).flatten(2).any(-1)
        assert differs.all()


def test_places_in_a_cell_differ_by_their_own_and_by_the_others_place_alone() -> None:
    """None of them knows what is drawn beside it: all are drawn at once."""
    model = _upsampler()
    logits = model.logits(_codes(1))
    assert not torch.equal(logits[0, 0, 0], logits[0, 0, 1])
    with torch.no_grad():
        model.prior.pos_emb_cell.weight[3] += 1
    assert not torch.equal(model.logits(_codes(1))[0, 0, 0], logits[0, 0, 0])


def test_the_loss_is_that_of_each_finer_code() -> None:
    model, codes = _upsampler(), _codes(2)
    finer = torch.randint(48, (2, 16, 4), generator=torch.Generator().manual_seed(1))
    expected = F.nll_loss(model.logits(codes).log_softmax(-1).flatten(0, 2), finer.flatten())
    torch.testing.assert_close(model.prior.loss(codes, finer), expected)


def test_a_correction_is_added_to_the_coarse_picture() -> None:
    model, coarse = _upsampler(), _pictures(2)
    finer = model.encode(_pictures(2, seed=1), coarse)
    assert finer.shape == (2, 16, 4)
    made = model.pixels(finer, coarse)
    assert made.shape == coarse.shape
    assert not torch.equal(made, coarse)
    for parameter in model.codec.decoder.conv_out.parameters():
        parameter.zero_()
    torch.testing.assert_close(model.pixels(finer, coarse), coarse)


def test_equal_pictures_have_other_codes_over_another_coarse_picture() -> None:
    """Codes are of what is lacking."""
    model, pixels = _upsampler(), _pictures(1)
    first, second = (model.codec.features(pixels, _pictures(1, seed)) for seed in (1, 2))
    assert not torch.allclose(first, second)


def test_a_codec_of_several_codes_a_step_may_be_under_it() -> None:
    shape = replace(_upsampler().config, coarse_sizes=(64, 40, 40), ratio=2)
    model = build_upsampler(shape).eval()
    assert isinstance(model, CellUpsampler)
    codes = torch.randint(40, (2, 16, 3), generator=torch.Generator().manual_seed(0))
    other = codes.clone()
    other[:, :, 2] = (other[:, :, 2] + 1) % 40
    assert model.logits(codes).shape == (2, 16, 4, 48)
    assert not torch.equal(model.logits(codes), model.logits(other))


def test_a_head_without_layers_still_sees_its_cell() -> None:
    shape = replace(_upsampler().config, head=StackConfig(24, 0, 4))
    model = as_upsampler(build_upsampler(shape).eval())
    assert not torch.equal(model.logits(_codes(1, 0)), model.logits(_codes(1, 1)))


def test_over_mindalle_it_is_light_and_draws_32x32() -> None:
    shape, base = CellUpsamplerConfig(), get_preset("mindalle-1.3b")
    assert shape.coarse_shape == base.stage1.code_shape
    assert shape.coarse_sizes == base.vocab_sizes
    assert shape.size == base.size
    assert shape.code_shape == (256, 4)
    assert shape.summary == "16×16 → 32×32 codes, 4 + 2 layers of 1024"
    model = on_meta(lambda: CellUpsampler(shape))
    sizes = {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in model.named_children()
    }
    assert sizes["prior"] == pytest.approx(101e6, rel=0.02)  # of 1.3 billion in stage 2
    codes = torch.zeros(1, 256, 1, dtype=torch.int64, device="meta")
    assert model.logits(codes).shape == (1, 256, 4, 8192)
    finer = torch.zeros(1, 256, 4, dtype=torch.int64, device="meta")
    coarse = torch.zeros(1, 3, 256, 256, device="meta")
    assert model.pixels(finer, coarse).shape == (1, 3, 256, 256)
    assert model.encode(coarse, coarse).shape == (1, 256, 4)
