"""The loop's own promises; random schedules are in test_schedules.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.configs.transformer import TransformerConfig
from models.drawing.candidates import draw_all
from models.drawing.generate import Batch, BatchFullError
from models.drawing.sampling import InvalidSamplingError, RowParams
from models.errors import UnsoundWeightsError
from models.pipeline import Pipeline
from models.stage2.prior import Prefix
from models.stage2.transformer import Transformer
from tests.models.conftest import PROMPTS
from tests.models.mindalle import shape, transformer


def _params(count: int, **same: float) -> list[RowParams]:
    return [replace(RowParams(seed=21, candidate=i), **same) for i in range(count)]  # type: ignore[arg-type]  # mypy can't see which field it is


def _prefix(pipeline: Pipeline, index: int = 0) -> Prefix:
    return pipeline.prefix(pipeline.encode(PROMPTS[pipeline.preset.prompt_kind][index]))


def _random_stage2(config: TransformerConfig) -> Transformer:
    torch.manual_seed(3)
    stage2 = Transformer(config).eval().requires_grad_(False)
    for parameter in stage2.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return stage2


def test_greedy_codes_are_the_best_of_the_whole_sequence(every_exact: Pipeline) -> None:
    stage2 = transformer(every_exact)
    codes = draw_all(Batch(stage2, 1), _prefix(every_exact), _params(1, top_k=1)).codes[..., 0]
    ids = every_exact.encode(PROMPTS[every_exact.preset.prompt_kind][0]).ids
    with torch.inference_mode():
        logits, _ = stage2(ids, codes)
    num_codes = every_exact.preset.vocab_sizes[0]
    assert torch.equal(logits[..., :num_codes].argmax(-1), codes)


def test_candidates_of_one_prompt_part_at_the_first_code(every_tiny: Pipeline) -> None:
    batch = every_tiny.batch(16)
    rows = batch.admit(_prefix(every_tiny), _params(16, temperature=3.0))
    first = batch.peek(rows)[0][:, 0, 0]
    assert len(set(first.tolist())) > 8


def test_one_prefill_serves_as_well_as_one_per_candidate(every_prior: Pipeline) -> None:
    shared = draw_all(every_prior.batch(4), _prefix(every_prior), _params(4)).codes
    batch = every_prior.batch(4)
    for params in _params(4):
        batch.admit(_prefix(every_prior), [params])
    while not (rows := batch.step()):
        pass
    assert torch.equal(batch.take(rows), shared)


def test_a_prompt_decides_what_is_drawn(every_prior: Pipeline) -> None:
    if every_prior.preset.prompt_kind == "none":
        pytest.skip("it has no prompt")
    one = draw_all(every_prior.batch(2), _prefix(every_prior, 0), _params(2)).codes
    other = draw_all(every_prior.batch(2), _prefix(every_prior, 1), _params(2)).codes
    assert not torch.equal(one, other)


def test_more_candidates_than_rows_come_in_parts(every_prior: Pipeline) -> None:
    moved: list[int] = []
    codes = draw_all(every_prior.batch(3), _prefix(every_prior), _params(7), moved.append).codes
    preset = every_prior.preset
    assert codes.shape == (7, preset.num_steps, preset.depth)
    assert sum(moved) == 7 * preset.codes_per_image
    for params, row in zip(_params(7), codes, strict=True):
        assert torch.equal(
            draw_all(every_prior.batch(3), _prefix(every_prior), [params]).codes[0], row
        )


def test_a_full_batch_takes_nobody_and_keeps_its_rows(tiny: Pipeline) -> None:
    batch = tiny.batch(3)
    assert (batch.num_free, batch.num_busy) == (3, 0)
    rows = batch.admit(_prefix(tiny), _params(2))
    assert (batch.num_free, batch.num_busy) == (1, 2)
    with pytest.raises(BatchFullError, match="2 rows asked for, 1 free"):
        batch.admit(_prefix(tiny), _params(2))
    assert batch.num_free == 1
    assert batch.admit(_prefix(tiny), []) == []
    batch.evict(rows[:1])
    assert batch.admit(_prefix(tiny), _params(2)) == [0, 2]


def test_one_bad_parameter_admits_nobody(tiny: Pipeline) -> None:
    batch = tiny.batch(3)
    with pytest.raises(InvalidSamplingError, match=r"^top_k"):
        batch.admit(_prefix(tiny), [*_params(1), RowParams(seed=0, top_k=65)])
    assert batch.num_free == 3


def test_only_finished_rows_can_be_taken(tiny: Pipeline) -> None:
    batch = tiny.batch(2)
    rows = batch.admit(_prefix(tiny), _params(2))
    batch.step()
    with pytest.raises(ValueError, match=r"rows \[0, 1\] are not finished"):
        batch.take(rows)
    with pytest.raises(ValueError, match="not finished"):
        batch.take([1])
    assert batch.num_busy == 2


def test_a_finished_row_is_reported_once_and_waits(every_prior: Pipeline) -> None:
    batch = every_prior.batch(3)
    early = batch.admit(_prefix(every_prior), _params(1))
    for _ in range(5):
        assert batch.step() == []
    late = batch.admit(_prefix(every_prior), _params(1))
    reports = [batch.step() for _ in range(20)]
    assert [rows for rows in reports if rows] == [early, late]
    # The early row computed along for five steps and more; its codes are still its own.
    both = batch.take([*late, *early])
    assert torch.equal(both[0], both[1])
    assert batch.num_free == 3


def test_peek_shows_what_is_drawn_and_zeros(every_prior: Pipeline) -> None:
    batch = every_prior.batch(2)
    rows = batch.admit(_prefix(every_prior), _params(1))
    for _ in range(3):
        batch.step()
    seen, counts = batch.peek(rows)
    assert counts == [4]
    while not batch.step():
        pass
    codes = batch.take(rows)
    assert torch.equal(seen[0, :4], codes[0, :4])
    assert not seen[0, 4:].any()


def test_an_evicted_row_comes_back_clean(every_prior: Pipeline) -> None:
    batch = every_prior.batch(1)
    batch.admit(_prefix(every_prior, 1), _params(1, top_k=2))
    for _ in range(9):
        batch.step()
    batch.evict([0])
    assert batch.step() == []
    again = draw_all(batch, _prefix(every_prior), _params(1)).codes
    assert torch.equal(
        again, draw_all(every_prior.batch(1), _prefix(every_prior), _params(1)).codes
    )


@pytest.mark.parametrize("num_codes", [1, 2])
def test_images_of_very_few_codes(tiny: Pipeline, num_codes: int) -> None:
    stage2 = _random_stage2(replace(shape(tiny.preset), ctx_len_img=num_codes))
    prefix = stage2.prefill(torch.zeros(1, 8, dtype=torch.int64))
    batch = Batch(stage2, 2)
    rows = batch.admit(prefix, _params(2))
    finished = batch.step()
    assert finished == rows
    codes = batch.take(finished)
    assert codes.shape == (2, num_codes, 1)
    assert draw_all(batch, prefix, _params(5)).codes.shape == (5, num_codes, 1)


def test_rows_that_are_not_finite_are_flagged_and_hurt_nobody(tiny: Pipeline) -> None:
    stage2 = _random_stage2(shape(tiny.preset))
    stage2.tok_emb_txt.weight[99] = torch.nan
    good = stage2.prefill(torch.zeros(1, 8, dtype=torch.int64))
    bad = stage2.prefill(torch.full((1, 8), 99))
    expected = draw_all(Batch(stage2, 3), good, _params(1)).codes
    batch = Batch(stage2, 3)
    rows = [*batch.admit(bad, _params(1)), *batch.admit(good, _params(1))]
    assert batch.are_sound(rows) == [False, True]
    for _ in range(7):
        batch.step()
    batch.evict(rows[:1])
    # The row that held NaN is used again: nothing of it may be left.
    rows[0] = batch.admit(good, _params(1))[0]
    assert rows == [0, 1]
    finished: list[int] = []
    while len(finished) < 2:
        finished += batch.step()
    assert batch.are_sound(rows) == [True, True]
    assert torch.equal(batch.take(rows), expected.expand(2, -1, -1))
    with pytest.raises(UnsoundWeightsError, match="not finite"):
        draw_all(batch, bad, _params(2))
    assert batch.num_free == 3
    assert torch.equal(draw_all(batch, good, _params(1)).codes, expected)


def test_logits_that_are_not_finite_are_flagged(tiny: Pipeline) -> None:
    stage2 = _random_stage2(shape(tiny.preset))
    stage2.head.weight[5] = torch.inf
    batch = Batch(stage2, 1)
    rows = batch.admit(stage2.prefill(torch.zeros(1, 8, dtype=torch.int64)), _params(1))
    assert batch.are_sound(rows) == [False]


def test_rows_can_leave_outside_inference_mode(tiny: Pipeline) -> None:
    with torch.inference_mode():
        batch = tiny.batch(2)
        batch.admit(_prefix(tiny), _params(2))
    batch.step()
    batch.peek([0])
    batch.evict([0, 1])
    assert batch.num_free == 2
