"""Families of several codes a step in the one loop, each depth by its own filters.

RQ draws one depth after the other; HQ a cell, its finer codes one by one or a level at once; the
multi-scale VQ all finer codes behind all coarse ones.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any, Protocol, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.drawing.candidates import draw_all
from models.drawing.generate import Batch
from models.drawing.sampling import InvalidSamplingError, RowParams
from models.pipeline import LoadOptions, Pipeline, Prompt, load
from models.stage2.prior import Prior, one_by_one
from tests.models.drawing.chi_square import chi_square_limit
from tests.models.drawing.test_cuda_graphs import run_thrice
from tests.models.drawing.test_schedules import _OPS, CAPACITIES, Alone, Op, check

_NAMES = (
    *("tiny-rq", "tiny-rq-class", "tiny-rq-uncond"),
    *("tiny-hq", "tiny-hq-class", "tiny-hq-uncond"),
)
_PROMPTS: dict[str, Prompt] = {"text": "a heart", "class": 7, "none": None}
_NUM_DRAWS = 3000


class DeepPrior(Prior, Protocol):
    """A prior that runs over whole sequences, too: logits [B, T, D, V], and a text's."""

    def __call__(self, ids: Tensor, codes: Tensor) -> tuple[Tensor, Tensor | None]: ...


def _prior(pipeline: Pipeline) -> DeepPrior:
    return cast(DeepPrior, pipeline.stage2)


def _ids(pipeline: Pipeline) -> Tensor:
    return pipeline.encode(_PROMPTS[pipeline.preset.prompt_kind]).ids


@pytest.fixture(scope="module", params=_NAMES)
def exact(request: pytest.FixtureRequest) -> Pipeline:
    """float64 and unpacked: for comparing ways of computing one number."""
    return load(request.param, options=LoadOptions(dtype=torch.float64, packed=False))


@pytest.fixture(scope="module", params=(*_NAMES, "tiny-hq-scales"))
def alone(request: pytest.FixtureRequest) -> Alone:
    return Alone.of(load(request.param))


@pytest.mark.timeout(300)
@settings(max_examples=30)
@given(
    capacity=st.sampled_from(CAPACITIES),
    ops=_OPS,
    with_pixels=st.integers(0, 9).map(lambda n: n == 9),
)
def test_a_row_draws_what_it_draws_alone(
    alone: Alone, capacity: int, ops: list[Op], with_pixels: bool
) -> None:
    check(alone, capacity, ops, with_pixels)


@pytest.fixture(
    scope="module", params=[("tiny-rq", "none"), ("tiny-rq", "int8"), ("tiny-hq", "int8")]
)
def alone_in_bfloat16(request: pytest.FixtureRequest) -> Alone:
    name, quantization = request.param
    return Alone.of(
        load(name, options=LoadOptions(dtype=torch.bfloat16, quantization=quantization))
    )


@pytest.mark.timeout(120)
@settings(max_examples=12)
@given(capacity=st.sampled_from(CAPACITIES), ops=_OPS)
def test_so_it_does_in_bfloat16(alone_in_bfloat16: Alone, capacity: int, ops: list[Op]) -> None:
    check(alone_in_bfloat16, capacity, ops, with_pixels=False)


def test_greedy_codes_are_the_best_of_the_whole_sequence(exact: Pipeline) -> None:
    prior, ids = _prior(exact), _ids(exact)
    with torch.inference_mode():
        codes = draw_all(Batch(prior, 1), prior.prefill(ids), [RowParams(seed=0, top_k=1)]).codes
        logits, _ = prior(ids, codes)
    assert torch.equal(logits.argmax(-1), codes)


@torch.inference_mode()
def test_one_code_at_a_time_equals_the_whole_sequence(exact: Pipeline) -> None:
    """Three rows at once, each with its own codes."""
    prior, ids = _prior(exact), _ids(exact)
    shape = (3, prior.num_steps, prior.depth)
    codes = torch.randint(min(prior.vocab_sizes), shape, generator=torch.Generator().manual_seed(2))
    whole, _ = prior(ids.expand(3, -1), codes)
    prefix, state = prior.prefill(ids), prior.new_state(3)
    state.put(prefix, torch.arange(3))
    hidden = prefix.hidden.expand(3, -1)
    for place in range(prior.num_steps):

        def given(logits: Tensor, depth: int, place: int = place) -> Tensor:
            wanted = whole[:, place, depth, : logits.shape[-1]]
            torch.testing.assert_close(logits, wanted, atol=1e-6, rtol=0)  # float32 codebook
            return codes[:, place, depth]

        assert torch.equal(prior.sample(hidden, state, one_by_one(given)), codes[:, place])
        if place + 1 < prior.num_steps:
            places = torch.full((3,), place)
            hidden = prior.decode(codes[:, place], places, state, prior.reaches[-1])


def _reference(logits: Tensor, params: RowParams, depth: int) -> Tensor:
    """The reference's filters at one depth on rows [n, V]: probabilities."""
    top_k, top_p = cast(tuple[int, ...], params.top_k), cast(tuple[float, ...], params.top_p)
    scaled = logits.float() / cast(float, params.temperature)
    smallest = scaled.topk(min(top_k[depth], logits.shape[-1])).values[:, -1:]
    probs = scaled.masked_fill(scaled < smallest, -torch.inf).softmax(-1)
    ordered, order = probs.sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = probs.masked_fill((before >= top_p[depth]).scatter(1, order, before >= top_p[depth]), 0)
    return kept / kept.sum(-1, keepdim=True)


def test_a_step_that_is_done_twice_changes_nothing(alone: Alone) -> None:
    """As a captured step is, which is warmed up before it counts."""
    prior, params = alone.pipeline.stage2, alone.params[:3]
    shapes = alone.batches[3].shapes
    batches = (Batch(prior, 3, shapes, run_thrice), Batch(prior, 3, shapes))
    found, wanted = (draw_all(batch, alone.prefixes[0], params).codes for batch in batches)
    assert torch.equal(found, wanted)


def _cycled(values: tuple[Any, ...], prior: Prior) -> tuple[Any, ...]:
    """One value for each depth."""
    return tuple(value for value, _ in zip(cycle(values), prior.vocab_sizes, strict=False))


@torch.inference_mode()
def test_every_depth_draws_from_its_own_filtered_probabilities(exact: Pipeline) -> None:
    """The first step of many candidates, each depth given the codes that the row drew above it."""
    prior, ids = _prior(exact), _ids(exact)
    params = [
        RowParams(5, i, 1.3, _cycled((40, 20, 12, 6), prior), _cycled((0.95, 0.9, 1.0, 0.7), prior))
        for i in range(_NUM_DRAWS)
    ]
    batch = Batch(prior, _NUM_DRAWS)
    rows = batch.admit(prior.prefill(ids), params)
    codes = batch.peek(rows)[0][:, :1]  # [n, 1, D]
    seen = prior(ids.expand(_NUM_DRAWS, -1), codes)[0][:, 0]
    for depth in range(prior.depth):
        drawn, size = codes[:, 0, depth], prior.vocab_sizes[depth]
        probs = _reference(seen[:, depth, :size], params[0], depth)
        assert (probs.gather(1, drawn[:, None]) > 0).all()
        wanted, counts = probs.double().sum(0), torch.bincount(drawn, minlength=size)
        common = wanted >= 5
        cells = [*zip(counts[common].tolist(), wanted[common].tolist(), strict=True)]
        if float(wanted[~common].sum()) >= 5:
            cells.append((int(counts[~common].sum()), float(wanted[~common].sum())))
        assert len(cells) > 1
        statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
        assert statistic < chi_square_limit(len(cells) - 1), depth


@pytest.mark.parametrize("field", ["temperature", "top_k", "top_p"])
def test_a_list_of_the_wrong_length_is_refused(exact: Pipeline, field: str) -> None:
    prior = _prior(exact)
    batch = Batch(prior, 1)
    params = RowParams(seed=0, **{field: (1,) * (prior.depth + 1)})  # type: ignore[arg-type]  # one of three fields
    with pytest.raises(InvalidSamplingError, match=f"one value or {prior.depth}"):
        batch.admit(prior.prefill(_ids(exact)), [params])


def test_pictures_of_the_first_levels_are_coarse_to_fine(exact: Pipeline) -> None:
    codes = draw_all(
        exact.batch(1),
        exact.prefix(exact.encode(_PROMPTS[exact.preset.prompt_kind])),
        [RowParams(seed=0)],
    ).codes
    pictures = [exact.pixels(codes[..., : view.depth]) for view in exact.preset.views]
    assert exact.preset.views[-1].depth == exact.preset.depth
    assert all(picture.shape == pictures[0].shape for picture in pictures)
    distances = [float((picture - pictures[-1]).abs().mean()) for picture in pictures]
    assert distances[-1] == 0
    assert all(distance > 0 for distance in distances[:-1])
