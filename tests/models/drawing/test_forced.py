"""Codes that are known come back as they are, and everything else is drawn as ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.drawing.candidates import draw_all
from models.drawing.forced import FREE, Forced
from models.drawing.generate import Batch, Runner
from models.drawing.sampling import RowParams
from models.pipeline import LoadOptions, Pipeline, Prompt, load
from models.stage2.prior import Continuing, Prefix, Prior
from tests.models.conftest import TINY
from tests.models.drawing.test_cuda_graphs import Recorder, run_thrice
from tests.models.priors import OTHERS, load_any

PIXELS = (
    "tiny-gated-pixelcnn",
    "tiny-pixelcnn++",
    "tiny-image-transformer-2d",
)
_FAMILIES = ("tiny", "tiny-class", *OTHERS, "tiny-rq", "tiny-hq", *PIXELS)
_PROMPTS: dict[str, Prompt] = {"text": "a heart", "class": 3, "none": None}
_PARAMS = [RowParams(seed=5, candidate=i, temperature=1.5) for i in range(3)]
_SCHEDULES = settings(max_examples=4)
# How much is known, and from which random numbers the rest of a case is made.
_CASES = {"share": st.sampled_from([0.1, 0.5, 0.9]), "seed": st.integers(0, 10**6)}


@pytest.fixture(scope="module", params=_FAMILIES)
def family(request: pytest.FixtureRequest) -> Pipeline:
    return load_any(request.param)


def _ids(pipeline: Pipeline) -> Tensor:
    return pipeline.encode(_PROMPTS[pipeline.preset.prompt_kind]).ids


def _random(prior: Prior, seed: int) -> Tensor:
    """Codes [T, D] as they come."""
    generator = torch.Generator().manual_seed(seed)
    columns = [
        torch.randint(size, (prior.num_steps,), generator=generator) for size in prior.vocab_sizes
    ]
    return torch.stack(columns, -1)


def _partly(codes: Tensor, share: float, seed: int) -> Tensor:
    """The same with holes, after a front that may be whole."""
    generator = torch.Generator().manual_seed(seed)
    is_known = torch.rand(codes.shape, generator=generator) < share
    is_known[: seed % (len(codes) + 1)] = True
    return codes.where(is_known, FREE)


def _drawn(pipeline: Pipeline, known: Tensor, batch: Batch | None = None) -> Tensor:
    """[3, T, D] of three candidates."""
    forced = Forced.of(pipeline.stage2, known)
    prefix = forced.prefix(pipeline.stage2, _ids(pipeline))
    return draw_all(batch or pipeline.batch(4), prefix, _PARAMS, forced=forced).codes


def _free(pipeline: Pipeline) -> Tensor:
    return draw_all(pipeline.batch(4), pipeline.stage2.prefill(_ids(pipeline)), _PARAMS).codes


@_SCHEDULES
@given(**_CASES)
def test_forced_codes_come_back(family: Pipeline, share: float, seed: int) -> None:
    known = _partly(_random(family.stage2, seed), share, seed)
    drawn = _drawn(family, known)
    is_known = known != FREE
    for row in drawn:
        assert torch.equal(row[is_known], known[is_known])
    sizes = torch.tensor(family.stage2.vocab_sizes)
    assert ((drawn >= 0) & (drawn < sizes)).all()


@_SCHEDULES
@given(**_CASES)
def test_what_is_known_takes_no_numbers_from_what_is_not(
    family: Pipeline, share: float, seed: int
) -> None:
    """Told some of the codes that it would draw, a row draws the others of them."""
    row = seed % len(_PARAMS)
    codes = _free(family)[row]
    assert torch.equal(_drawn(family, _partly(codes, share, seed))[row], codes)


def test_a_row_that_is_all_known_is_its_picture(family: Pipeline) -> None:
    codes = _random(family.stage2, 1)
    drawn = _drawn(family, codes)
    assert torch.equal(drawn, codes.expand_as(drawn))
    assert torch.equal(family.pixels(drawn[:1]), family.pixels(codes[None]))


def test_nothing_known_is_plain_drawing(family: Pipeline) -> None:
    nothing = torch.full_like(_random(family.stage2, 0), FREE)
    assert torch.equal(_drawn(family, nothing), _free(family))


def test_a_row_draws_the_same_among_others(family: Pipeline) -> None:
    """Rows of a plain prompt before it, rows with other known codes beside it, and a free one."""
    prior = family.stage2
    known = _partly(_random(prior, 3), 0.5, 5)
    alone = _drawn(family, known)
    other = Forced.of(prior, _partly(_random(prior, 4), 0.5, 11))
    forced = Forced.of(prior, known)
    batch, plain = family.batch(4), prior.prefill(_ids(family))
    batch.admit(plain, [RowParams(seed=9)])
    batch.step()
    batch.admit(other.prefix(prior, _ids(family)), [RowParams(seed=9)], other)
    for _ in range(3):
        batch.step()
    (mine,) = batch.admit(forced.prefix(prior, _ids(family)), _PARAMS[1:2], forced)
    found: list[int] = []
    while mine not in found:
        found = batch.step()
    assert torch.equal(batch.take([mine])[0], alone[1])
    batch.evict([0, 1])
    assert torch.equal(
        draw_all(batch, plain, _PARAMS).codes, _free(family)
    )  # nothing is left behind


@pytest.mark.parametrize("make_runner", [lambda: Recorder().run, lambda: run_thrice])
def test_forced_steps_may_be_replayed_and_repeated(
    family: Pipeline, make_runner: Callable[[], Runner]
) -> None:
    known = _partly(_random(family.stage2, 7), 0.5, 6)
    batch = Batch(family.stage2, 4, family.batch(4).shapes, make_runner())
    for _ in range(2):
        assert torch.equal(_drawn(family, known, batch), _drawn(family, known))


@pytest.mark.parametrize("name", [*TINY, "tiny-rq", "tiny-rq-class", "tiny-hq", "tiny-hq-uncond"])
def test_a_front_that_goes_in_with_the_prompt_is_one_that_is_stepped_through(name: str) -> None:
    """In float64, which tells ways of computing one number apart by far less than a draw needs."""
    pipeline = load(name, options=LoadOptions(dtype=torch.float64, packed=False))
    prior, ids = pipeline.stage2, _ids(pipeline)
    assert isinstance(prior, Continuing)
    codes = _random(prior, 2)
    for num_known in (1, prior.num_steps // 2, prior.num_steps - 1):
        known = codes.clone()
        known[num_known:] = FREE
        at_once = Forced.of(prior, known)
        assert at_once.num_prefilled == num_known
        stepped = Forced(at_once.codes)
        prefixes: list[tuple[Prefix, Forced]] = [
            (at_once.prefix(prior, ids), at_once),
            (prior.prefill(ids), stepped),
        ]
        first, second = (draw_all(Batch(prior, 3), p, _PARAMS, forced=f).codes for p, f in prefixes)
        assert torch.equal(first, second)


def test_a_prefix_with_codes_starts_behind_them(family: Pipeline) -> None:
    prior = family.stage2
    known = _random(prior, 8)
    known[2:] = FREE
    forced = Forced.of(prior, known)
    batch = family.batch(2)
    (row,) = batch.admit(forced.prefix(prior, _ids(family)), _PARAMS[:1], forced)
    assert batch.num_drawn(row) == (3 if isinstance(prior, Continuing) else 1)


@pytest.mark.parametrize("code", [-2, 10**6])
def test_codes_that_the_prior_does_not_have_are_refused(family: Pipeline, code: int) -> None:
    codes = _random(family.stage2, 0)
    codes[3, 0] = code
    with pytest.raises(ValueError, match="codes must be below"):
        Forced.of(family.stage2, codes)


def test_codes_of_another_shape_are_refused(family: Pipeline) -> None:
    with pytest.raises(ValueError, match="int64"):
        Forced.of(family.stage2, _random(family.stage2, 0)[1:])
