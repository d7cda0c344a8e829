from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.hq import TwoScalesConfig
from models.presets.register import get_preset
from models.stage2.two_scales import TwoScales


def _shape() -> TwoScalesConfig:
    shape = get_preset("tiny-hq-scales").stage2
    assert isinstance(shape, TwoScalesConfig)
    return shape


def _random(shape: TwoScalesConfig) -> TwoScales:
    torch.manual_seed(0)
    model = TwoScales(shape).eval().double().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def _codes(model: TwoScales, num_rows: int) -> Tensor:
    shape = (num_rows, model.num_steps)
    return torch.randint(model.vocab_sizes[0], shape, generator=torch.Generator().manual_seed(1))


def _one_coarse_code() -> TwoScalesConfig:
    shape = _shape()
    return replace(
        shape, top=replace(shape.top, ctx_len_img=1), bottom=replace(shape.bottom, ctx_len_txt=1)
    )


@pytest.mark.parametrize("num_given", [1, 16, 17])
def test_the_first_codes_have_the_logits_that_they_have_among_all(num_given: int) -> None:
    model, ids = _random(_shape()), torch.tensor([[3]])
    codes = _codes(model, 1)
    whole, first = model(ids, codes)[0], model(ids, codes[:, :num_given])[0]
    torch.testing.assert_close(first, whole[:, :num_given], atol=1e-10, rtol=0)


@pytest.mark.parametrize("shape", [_shape(), _one_coarse_code()], ids=["many", "one"])
@torch.inference_mode()
def test_rows_at_different_places_draw_what_the_whole_sequence_says(
    shape: TwoScalesConfig,
) -> None:
    """Two rows, one of them ahead: where one draws coarse codes, the other draws finer ones."""
    model = _random(shape)
    codes, ids, ahead = _codes(model, 2), torch.tensor([[3]]), 9
    whole = model(ids.expand(2, -1), codes)[0]
    state, last = model.new_state(2), model.num_steps - 1
    state.put(model.prefill(ids), torch.arange(2))
    torch.testing.assert_close(model.prefill(ids).hidden, whole[:1, 0])
    for step in range(last + ahead):
        places = torch.tensor([step, step - ahead]).clamp(0, last - 1)
        fed = codes.gather(1, places[None].mT)
        logits = model.decode(fed, places, state, last)
        for row, place in enumerate(places.tolist()):
            if 0 <= step - row * ahead < last:
                torch.testing.assert_close(logits[row], whole[row, place + 1])


@torch.inference_mode()
def test_finer_codes_know_all_coarse_ones_and_no_coarse_code_knows_a_finer() -> None:
    model = _random(_shape())
    codes, ids = _codes(model, 1), torch.tensor([[3]])
    before = model(ids, codes)[0]
    border = model.config.top.num_steps
    for place in (2, border + 5):
        changed = codes.clone()
        changed[0, place] = (changed[0, place] + 1) % model.vocab_sizes[0]
        moved = (model(ids, changed)[0] != before).any(-1)[0]
        assert not moved[: place + 1].any()
        assert moved[place + 1 :].all()


def test_its_loss_is_the_sum_of_both_grids_means() -> None:
    model = _random(_shape())
    codes, ids = _codes(model, 2), torch.tensor([[3], [1]])
    border = model.config.top.num_steps
    coarse, _ = model.top(ids, codes[:, :border])
    finer, _ = model.bottom(codes[:, :border], codes[:, border:])
    wanted = F.cross_entropy(coarse.flatten(0, 1), codes[:, :border].flatten())
    wanted = wanted + F.cross_entropy(finer.flatten(0, 1), codes[:, border:].flatten())
    torch.testing.assert_close(model.loss(ids, codes), wanted)
