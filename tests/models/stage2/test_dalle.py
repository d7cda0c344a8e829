"""DALL-E's transformer: what it depends on, and one code at a time against whole sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.configs.dalle import DalleConfig, ru_dalle_masks
from models.drawing.candidates import draw_all
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.presets.dalle import DALLE_PRESETS, second_version
from models.presets.register import get_preset
from models.stage2.dalle import Dalle
from models.verify.walk import through_the_state
from tests.models.stage2.test_masks import KINDS

_SMALL = DalleConfig(
    embed_dim=16,
    n_layers=3,
    n_heads=2,
    vocab_size_txt=12,
    ctx_len_txt=4,
    vocab_size_img=9,
    grid=(3, 4),
    masks=("row", "column", "conv_v3"),
    conv_kernel=3,
)
_SHAPES = st.builds(
    replace,
    st.just(_SMALL),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    masks=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple),
    conv_kernel=st.sampled_from([1, 3, 5]),
    has_second_start=st.booleans(),
    sandwich_norms=st.booleans(),
)


def _random(config: DalleConfig) -> Dalle:
    torch.manual_seed(3)
    model = Dalle(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval().requires_grad_(False)


def _inputs(config: DalleConfig, num_rows: int) -> tuple[Tensor, Tensor]:
    """Texts with padding, and codes."""
    generator = torch.Generator().manual_seed(4)
    shape = (num_rows, config.ctx_len_txt)
    ids = torch.randint(1, config.prompt_vocab_size, shape, generator=generator)
    ids[:, -1] = 0
    shape = (num_rows, config.num_steps)
    return ids, torch.randint(config.vocab_size_img, shape, generator=generator)


@given(config=_SHAPES)
@settings(max_examples=25)
def test_one_code_at_a_time_equals_the_whole_sequence(config: DalleConfig) -> None:
    model = _random(config)
    ids, codes = _inputs(config, 1)
    with torch.inference_mode():
        whole, _ = model(ids, codes)
        for reach in model.reaches[-1:]:
            assert reach == config.num_steps - 1
        seen = torch.cat(through_the_state(model, ids[0], codes[0, :, None]))
    torch.testing.assert_close(seen, whole[0], atol=1e-10, rtol=0)


@given(config=_SHAPES, data=st.data())
@settings(max_examples=25)
def test_codes_that_are_known_may_go_in_with_the_prompt(
    config: DalleConfig, data: st.DataObject
) -> None:
    model = _random(config)
    ids, codes = _inputs(config, 1)
    begun = data.draw(st.integers(0, config.num_steps - 1), "known")
    with torch.inference_mode():
        whole, _ = model(ids, codes)
        prefix, state = model.prefill_with(ids, codes[:, :begun, None]), model.new_state(1)
        state.put(prefix, torch.tensor([0]))
        hidden = prefix.hidden
        for place in range(begun, config.num_steps):
            torch.testing.assert_close(model.head(hidden), whole[:, place], atol=1e-10, rtol=0)
            if place + 1 < config.num_steps:
                at = torch.tensor([place])
                hidden = model.decode(codes[:, at], at, state, model.reaches[-1])


@given(config=_SHAPES)
@settings(max_examples=15)
def test_greedy_codes_are_the_best_of_the_whole_sequence(config: DalleConfig) -> None:
    model = _random(config)
    ids, _ = _inputs(config, 1)
    with torch.inference_mode():
        codes = draw_all(Batch(model, 1), model.prefill(ids), [RowParams(0, top_k=1)]).codes[..., 0]
        whole, _ = model(ids, codes)
    assert torch.equal(whole.argmax(-1), codes)


def test_a_shorter_reach_gives_the_same_states() -> None:
    config = replace(_SMALL, ctx_len_txt=60, vocab_size_txt=70, masks=("full", "row"))
    model = _random(config)
    ids, codes = _inputs(config, 1)
    short, whole = model.reaches
    assert (short, whole) == (4, 11)
    prefix, state = model.prefill(ids), model.new_state(1)
    state.put(prefix, torch.tensor([0]))
    for place in range(short):
        at = torch.tensor([place])
        outs = [model.decode(codes[:, at], at, state, reach) for reach in (short, whole)]
        torch.testing.assert_close(*outs, atol=1e-12, rtol=0)


@given(config=_SHAPES)
@settings(max_examples=15)
def test_logits_depend_on_what_their_layers_see_and_on_nothing_else(config: DalleConfig) -> None:
    model = _random(config)
    ids, codes = _inputs(config, 1)
    inputs: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, out: Tensor) -> Tensor:
        inputs.append(out.detach().requires_grad_())
        return inputs[0]

    model.embd_drop.register_forward_hook(keep)
    logits = model(ids, codes)[0][0]  # [T, V]
    seen = torch.eye(inputs[0].shape[1], dtype=torch.bool)
    for mask in model.masks:
        one = model._sequence(mask).over(len(seen), seen.device)
        seen = (one.float() @ seen.float()) > 0
    first = len(seen) - len(logits)
    for place, row in enumerate(logits):
        (gradient,) = torch.autograd.grad(row.square().sum(), inputs[0], retain_graph=True)
        assert torch.equal((gradient[0] != 0).any(-1), seen[first + place])


def test_a_pad_has_a_vector_of_its_own_at_each_position() -> None:
    model = _random(_SMALL)
    tokens = model.text_tokens(torch.tensor([[2, 5, 0, 0]]))
    assert tokens.tolist() == [[2, 5, 10, 11]]
    second = _random(second_version(_SMALL))
    assert second.text_tokens(torch.tensor([[2, 5, 0, 0]])).tolist() == [[2, 2, 5, 10, 11]]


def test_the_loss_weighs_text_and_image() -> None:
    model = _random(_SMALL)
    ids, codes = _inputs(_SMALL, 2)
    image, text = model(ids, codes)
    assert text.shape == (2, 3, 12)
    of_image = nn.functional.cross_entropy(image.mT, codes)
    of_text = nn.functional.cross_entropy(text.mT, model.text_tokens(ids)[:, 1:])
    assert model.loss(ids, codes) == of_image
    torch.testing.assert_close(model.loss(ids, codes, 1 / 8), of_text / 8 + of_image * 7 / 8)


def test_a_row_remembers_no_more_than_its_masks_see() -> None:
    for preset in DALLE_PRESETS:
        config = preset.stage2
        assert isinstance(config, DalleConfig)
        with torch.device("meta"):
            model = Dalle(replace(config, vocab_size_img=8))
        numbers = sum(cache.data.numel() for cache in model.new_state(3).caches.values())
        assert 3 * config.row_bytes(1) == numbers
    malevich = get_preset("rudalle-malevich").stage2
    with_all = replace(DalleConfig(), masks=("full",))
    assert malevich.row_bytes(2) < 0.4 * with_all.row_bytes(2)


@pytest.mark.parametrize(("layers", "last"), [(4, "conv_v3"), (6, "column"), (24, "conv_v3")])
def test_the_last_layer_is_a_convolution_unless_it_is_a_columns_turn(
    layers: int, last: str
) -> None:
    masks = ru_dalle_masks(layers)
    assert (masks[:4], masks[-1]) == (("row", "column", "row", masks[3]), last)
