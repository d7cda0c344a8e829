"""The reference's float pipeline stands below as the oracle: rows alone, one step after another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.drawing.sampling import (
    Filters,
    RowParams,
    draw,
    probabilities,
    weights,
)
from models.drawing.streams import MAX_SEED, uniforms
from tests.models import golden
from tests.models.drawing.chi_square import chi_square_limit

_CPU = torch.device("cpu")

KINDS = [
    RowParams(seed=1),
    RowParams(seed=2, temperature=0.7),
    RowParams(seed=3, top_k=1),
    RowParams(seed=4, top_k=20, temperature=1.3),
    RowParams(seed=5, top_p=0.8),
    RowParams(seed=6, top_k=30, top_p=0.6),
    RowParams(seed=7, top_k=64, top_p=1.0),
    RowParams(seed=8, top_p=0.0),
]


def _filters(params: list[RowParams], vocab_size: int) -> Filters:
    return Filters.of(params, vocab_size, _CPU)


def _reference(logits: Tensor, params: RowParams) -> Tensor:
    """minDALL-E's order of filters on one row [V] of float32 logits."""
    assert not isinstance(params.temperature, tuple)
    assert not isinstance(params.top_k, tuple)
    assert not isinstance(params.top_p, tuple)
    scaled = logits.float() / params.temperature
    if params.top_k is not None:
        smallest = scaled.topk(params.top_k).values[-1]
        scaled = scaled.masked_fill(scaled < smallest, -torch.inf)
    probs = scaled.softmax(-1)
    if params.top_p is not None:
        ordered, order = probs.sort(descending=True, stable=True)
        removed = ordered.cumsum(-1) >= params.top_p
        removed[1:] = removed[:-1].clone()
        removed[0] = False
        probs = probs.index_fill(0, order[removed], 0)
    return probs / probs.sum()


def test_recorded_probabilities_in_one_mixed_batch() -> None:
    recorded = golden.arrays("mindalle_text")
    logits = torch.from_numpy(recorded["filt_logits"])  # [6, V]
    expected = torch.from_numpy(recorded["filt_probs"])  # [C, 6, V]
    params = [
        RowParams(
            seed=0,
            temperature=float(temperature),
            top_k=None if top_k < 0 else int(top_k),
            top_p=None if top_p < 0 else float(top_p),
        )
        for temperature, top_k, top_p in recorded["filt_params"]
        for _ in logits
    ]
    drawn_from = probabilities(
        logits.repeat(len(expected), 1), _filters(params, logits.shape[1])
    ).view(expected.shape)
    # Row 3 has a tie at the cut: which of equals a nucleus keeps is left to the sort.
    free = [case for case in range(len(expected)) if 0 <= recorded["filt_params"][case, 2] < 1]
    assert 0 < len(free) < len(expected)
    difference = (drawn_from - expected).abs()
    difference[free, 3] = 0
    assert float(difference.max()) < 1e-5
    # Integer weights end at 2**-48; what is rarer is not drawn.
    different = (drawn_from > 0) != (expected > 2**-48)
    different[free, 3] = False
    assert not different.any()


@pytest.mark.parametrize(("freedom", "quantile"), [(10, 35.564), (100, 161.32)])
def test_the_limit_is_near_the_tables(freedom: int, quantile: float) -> None:
    assert chi_square_limit(freedom) == pytest.approx(quantile, rel=0.02)


def test_mixed_rows_draw_from_the_reference_probabilities() -> None:
    vocab_size, num_draws = 64, 4000
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(len(KINDS), vocab_size, generator=generator) * 1.5
    numbers = uniforms(
        torch.tensor([kind.seed for kind in KINDS]),
        torch.zeros(len(KINDS), dtype=torch.int64),
        num_draws,
    )
    # All draws of all kinds side by side: one batch of mixed rows.
    codes = draw(
        logits.repeat(num_draws, 1),
        _filters(KINDS * num_draws, vocab_size),
        numbers.T.reshape(-1),
    ).view(num_draws, len(KINDS))
    for index, kind in enumerate(KINDS):
        expected = _reference(logits[index], kind).double() * num_draws
        counts = torch.bincount(codes[:, index], minlength=vocab_size).double()
        assert not counts[expected == 0].any()
        rare = (expected > 0) & (expected < 5)
        cells = [(counts[i], expected[i]) for i in range(vocab_size) if expected[i] >= 5]
        if float(expected[rare].sum()) >= 5:
            cells.append((counts[rare].sum(), expected[rare].sum()))
        statistic = sum(float((seen - wanted) ** 2 / wanted) for seen, wanted in cells)
        if len(cells) > 1:
            assert statistic < chi_square_limit(len(cells) - 1), kind
        else:
            assert counts.max() == num_draws


@st.composite
def _row_params(draw_: st.DrawFn, vocab_size: int) -> RowParams:
    return RowParams(
        seed=draw_(st.integers(0, MAX_SEED)),
        temperature=draw_(st.sampled_from([0.05, 0.5, 1.0, 3.0])),
        top_k=draw_(st.none() | st.sampled_from([1, 2, vocab_size // 2, vocab_size])),
        top_p=draw_(st.none() | st.sampled_from([0.0, 0.3, 0.9, 0.999, 1.0])),
    )


@settings(max_examples=60)
@given(
    params=st.lists(_row_params(5000), min_size=2, max_size=5),
    spread=st.sampled_from([0.0, 0.01, 1.0, 5.0]),
    levels=st.sampled_from([0, 3]),
    seed=st.integers(0, 2**31),
)
def test_a_row_does_not_depend_on_the_filters_beside_it(
    params: list[RowParams], spread: float, levels: int, seed: int
) -> None:
    """A vocabulary large enough for the head of the nucleus, and flat ones that overflow it."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(params), 5000, generator=generator) * spread
    if levels:
        logits = (logits * levels).round() / levels  # ties everywhere
    numbers = torch.rand(len(params), generator=generator, dtype=torch.float64)
    together = weights(logits, _filters(params, 5000))
    codes = draw(logits, _filters(params, 5000), numbers)
    for i, row in enumerate(params):
        alone = _filters([row], 5000)
        assert torch.equal(weights(logits[i : i + 1], alone), together[i : i + 1])
        assert int(draw(logits[i : i + 1], alone, numbers[i : i + 1])) == int(codes[i])
        if not levels and spread:
            difference = probabilities(logits[i : i + 1], alone)[0] - _reference(logits[i], row)
            assert float(difference.abs().max()) < 1e-5


def test_ties_with_the_kth_stay() -> None:
    logits = torch.tensor([[3.0, 1, 2, 2, 0, 2]])
    kept = probabilities(logits, _filters([RowParams(seed=0, top_k=2)], 6)) > 0
    assert kept.tolist() == [[True, False, True, True, False, True]]


def test_equals_leave_a_nucleus_from_the_highest_code() -> None:
    logits = torch.zeros(1, 4)  # 1/4 each
    for top_p, num_kept in [(0.0, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (1.0, 4)]:
        kept = probabilities(logits, _filters([RowParams(seed=0, top_p=top_p)], 4))
        assert kept[0].tolist() == [1 / num_kept] * num_kept + [0] * (4 - num_kept)


def test_the_entry_that_crosses_top_p_stays_and_the_next_leaves() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    for top_p, kept in [(0.49, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3)]:
        row = probabilities(logits, _filters([RowParams(seed=0, top_p=top_p)], 4))
        assert int((row > 0).sum()) == kept


def test_top_k_comes_before_the_nucleus() -> None:
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    # Of the best two, renormalised to 4/7 and 3/7, the first alone crosses 0.5.
    row = probabilities(logits, _filters([RowParams(seed=0, top_k=2, top_p=0.5)], 4))
    assert row.tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("params", [RowParams(seed=0, top_k=1), RowParams(seed=0, top_p=0.0)])
def test_the_narrowest_filters_are_greedy(params: RowParams) -> None:
    logits = torch.randn(5, 300)
    for number in (0.0, 0.5, 1 - 2**-53):
        numbers = torch.full((5,), number, dtype=torch.float64)
        drawn = draw(logits, _filters([params] * 5, 300), numbers)
        assert torch.equal(drawn, logits.argmax(-1))


def test_widest_filters_change_nothing() -> None:
    logits = torch.randn(3, 50)
    plain = weights(logits, _filters([RowParams(seed=0)] * 3, 50))
    wide = weights(logits, _filters([RowParams(seed=0, top_k=50)] * 3, 50))
    assert torch.equal(plain, wide)
    ones = probabilities(logits, _filters([RowParams(seed=0, top_p=1.0)] * 3, 50))
    assert float((ones - plain / plain.sum(-1, keepdim=True)).abs().max()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_count_in_float32(dtype: torch.dtype) -> None:
    logits = torch.randn(2, 40).to(dtype)
    filters = _filters([RowParams(seed=0, temperature=0.8, top_k=9, top_p=0.9)] * 2, 40)
    assert torch.equal(weights(logits, filters), weights(logits.float(), filters))


def test_the_whole_range_of_numbers_is_drawn_in_order() -> None:
    logits = torch.tensor([[0.25, 0.5, 0.25]]).log()
    numbers = [0.0, 0.2499, 0.2501, 0.7499, 0.7501, 1 - 2**-53]
    codes = [
        int(draw(logits, _filters([RowParams(seed=0)], 3), torch.tensor([n], dtype=torch.float64)))
        for n in numbers
    ]
    assert codes == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_bad_logits_give_some_code_and_leave_neighbours_alone(bad: float) -> None:
    logits = torch.randn(3, 5000)
    params = [replace(kind, top_k=None if kind.top_k is None else 4) for kind in KINDS[3:6]]
    numbers = torch.full((3,), 0.7, dtype=torch.float64)
    before = draw(logits, _filters(params, 5000), numbers)
    logits[1] = bad
    after = draw(logits, _filters(params, 5000), numbers)
    assert [int(after[0]), int(after[2])] == [int(before[0]), int(before[2])]
    assert 0 <= int(after[1]) < 5000


def test_the_lowest_temperature_is_greedy() -> None:
    logits = torch.randn(1, 30) * 100
    filters = _filters([RowParams(seed=0, temperature=1e-30)], 30)
    assert int(draw(logits, filters, torch.tensor([0.99]).double())) == int(logits.argmax())


def test_the_highest_temperature_leaves_the_filters_their_order() -> None:
    logits = torch.randn(1, 30)
    filters = _filters([RowParams(seed=0, temperature=1e30, top_k=1)], 30)
    assert int(draw(logits, filters, torch.tensor([0.99]).double())) == int(logits.argmax())


def test_whole_numbers_are_taken_as_the_floats_they_stand_for() -> None:
    given = RowParams(seed=0, temperature=10**30, top_p=1)
    given.validate((30,))
    whole = Filters.of([given], 30, _CPU)
    same = Filters.of([RowParams(seed=0, temperature=1e30, top_p=1.0)], 30, _CPU)
    assert whole.temperature.dtype == whole.top_p.dtype == torch.float32
    assert torch.equal(whole.temperature, same.temperature)
    assert torch.equal(whole.top_p, same.top_p)


def test_each_depth_has_its_own_filters() -> None:
    params = RowParams(0, temperature=(0.5, 1.0), top_k=(None, 2), top_p=(0.9, None))
    logits = torch.randn(1, 6)
    for depth, row in enumerate((RowParams(0, 0, 0.5, None, 0.9), RowParams(0, 0, 1.0, 2, None))):
        own = Filters.of([params], 6, _CPU, depth)
        assert torch.equal(weights(logits, own), weights(logits, _filters([row], 6)))


def test_a_top_k_above_a_vocabulary_is_off_there() -> None:
    params = [RowParams(seed=0, top_k=32), RowParams(seed=0, top_k=3)]
    for row in params:
        row.validate((64, 16))
    logits = torch.randn(2, 16)
    together = weights(logits, _filters(params, 16))
    assert torch.equal(together[:1], weights(logits[:1], _filters([RowParams(seed=0)], 16)))
    assert int((together[1] > 0).sum()) == 3


def test_a_closed_nucleus_keeps_the_code_at_its_edge() -> None:
    """taming-transformers' rule: away goes what comes after more than top_p, not after top_p."""
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    kept = []
    for top_p in (0.0, 0.4, 0.5, 0.75, 0.8, 1.0):
        params = [RowParams(seed=0, top_p=top_p)]
        both = [Filters.of(params, 4, _CPU, closed_nucleus=closed) for closed in (False, True)]
        kept.append([int((weights(logits, filters) > 0).sum()) for filters in both])
    assert kept == [[1, 1], [1, 1], [1, 2], [2, 3], [3, 3], [4, 4]]
    plain = Filters.of([RowParams(seed=0)], 4, _CPU, closed_nucleus=True)
    assert not plain.has_top_p
    assert torch.equal(weights(logits, plain), weights(logits, _filters([RowParams(seed=0)], 4)))
