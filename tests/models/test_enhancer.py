from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.drawing.sampling import RowParams
from models.enhancer import Enhancer, random_upsampler
from models.errors import UnsoundWeightsError
from models.pipeline import LoadOptions, Pipeline, load

_ROWS = [RowParams(8, candidate, top_k=32) for candidate in range(5)]


@pytest.fixture(scope="module")
def enhanced() -> Pipeline:
    return load("tiny-enhance")


def _enhancer(pipeline: Pipeline) -> Enhancer:
    assert pipeline.enhancer is not None
    return pipeline.enhancer


def _codes(count: int) -> Tensor:
    return torch.randint(64, (count, 16, 1), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_a_row_gets_the_same_codes_alone_and_among_others(enhanced: Pipeline, chunk: int) -> None:
    enhancer, codes = replace(_enhancer(enhanced), chunk=chunk), _codes(5)
    together, pixels = enhancer.draw(codes, _ROWS), enhancer.pixels(codes, _ROWS)
    assert together.shape == (5, 16, 4)
    for row in (0, 3):
        alone = slice(row, row + 1)
        assert torch.equal(enhancer.draw(codes[alone], _ROWS[alone]), together[alone])
        assert torch.equal(enhancer.pixels(codes[alone], _ROWS[alone]), pixels[alone])
    backwards = enhancer.pixels(codes.flip(0), _ROWS[::-1])
    assert torch.equal(backwards.flip(0), pixels)


def test_each_seed_and_each_candidate_draws_codes_of_its_own(enhanced: Pipeline) -> None:
    enhancer, codes = _enhancer(enhanced), _codes(1)
    rows = [RowParams(8, 0), RowParams(8, 1), RowParams(9, 0)]
    drawn = [enhancer.draw(codes, [row]) for row in rows]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_how_the_coarse_codes_were_filtered_is_nothing_to_the_finer_ones(
    enhanced: Pipeline,
) -> None:
    enhancer, codes = _enhancer(enhanced), _codes(1)
    first = enhancer.draw(codes, [RowParams(8, 0, temperature=0.1, top_k=1)])
    assert torch.equal(first, enhancer.draw(codes, [RowParams(8, 0)]))


@pytest.mark.parametrize("change", [{"top_k": 1}, {"temperature": 1e-6}, {"top_p": 0.0}])
def test_the_enhancements_own_filters_count(enhanced: Pipeline, change: dict[str, Any]) -> None:
    """Each of these leaves the likeliest code alone."""
    enhancer, codes = _enhancer(enhanced), _codes(2)
    plain = replace(enhancer.enhancement, temperature=1.0, top_k=None, top_p=None)
    greedy = replace(enhancer, enhancement=replace(plain, **change))
    likeliest = enhancer.upsampler.logits(codes).argmax(-1)
    assert torch.equal(greedy.draw(codes, _ROWS[:2]), likeliest)
    free = replace(enhancer, enhancement=plain)
    assert not torch.equal(free.draw(codes, _ROWS[:2]), likeliest)


def test_a_mean_is_of_all_codes_by_their_chances(enhanced: Pipeline) -> None:
    """Where one code has every chance it is that code; no seed counts."""
    enhancer, codes = _enhancer(enhanced), _codes(2)
    own = replace(enhancer.enhancement, is_mean=True, top_k=None, top_p=None)
    mean, certain = (
        replace(enhancer, enhancement=replace(own, temperature=t)).pixels for t in (1.0, 1e-6)
    )
    finer = enhancer.upsampler.logits(codes).argmax(-1)
    coarse = enhanced.pixels(codes)
    expected = enhancer.upsampler.pixels(finer, coarse)
    torch.testing.assert_close(certain(codes, _ROWS[:2]), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(mean(codes, _ROWS[:2]), expected, atol=1e-3)
    assert torch.equal(mean(codes, _ROWS[:2]), mean(codes, _ROWS[2:4]))


def test_nothing_to_enhance(enhanced: Pipeline) -> None:
    enhancer = _enhancer(enhanced)
    assert enhancer.draw(_codes(0), []).shape == (0, 16, 4)
    assert enhancer.pixels(_codes(0), []).shape == (0, 3, 32, 32)


def test_weights_that_make_no_numbers_are_told(enhanced: Pipeline) -> None:
    enhancer = _enhancer(enhanced)
    module = random_upsampler(enhancer.enhancement, 0)
    nn.init.constant_(module.get_parameter("codec.decoder.conv_out.bias"), torch.nan)
    broken = Enhancer.of(enhanced.preset, module, enhancer.codec, chunk=1)
    with pytest.raises(UnsoundWeightsError, match="of the enhancement"):
        broken.pixels(_codes(1), _ROWS[:1])


def test_the_coarse_way_is_the_same_to_the_bit(enhanced: Pipeline, tiny: Pipeline) -> None:
    coarse = tiny.generate("a heart", _ROWS)
    off = enhanced.generate("a heart", _ROWS)
    for made, expected in zip(off, coarse, strict=True):
        assert made.candidate == expected.candidate
        assert made.score == expected.score
        assert torch.equal(made.pixels, expected.pixels)


def test_what_is_kept_is_made_finer_from_its_own_codes(enhanced: Pipeline) -> None:
    made = enhanced.generate("a heart", _ROWS)[:2]
    codes = torch.stack([picture.codes for picture in made])
    finer = enhanced.enhanced(codes, [_ROWS[picture.candidate] for picture in made])
    assert torch.equal(enhanced.pixels(codes), torch.stack([picture.pixels for picture in made]))
    for fine, coarse in zip(finer, made, strict=True):
        assert fine.shape == coarse.pixels.shape
        assert not torch.equal(fine, coarse.pixels)


def test_random_weights_are_the_same_each_time(enhanced: Pipeline) -> None:
    again = load("tiny-enhance", options=LoadOptions(packed=False))
    codes = _codes(1)
    assert torch.equal(again.enhanced(codes, _ROWS[:1]), enhanced.enhanced(codes, _ROWS[:1]))


def test_a_model_without_an_enhancement_says_so(tiny: Pipeline) -> None:
    with pytest.raises(ValueError, match="tiny has no enhancement"):
        tiny.enhanced(_codes(1), _ROWS[:1])
