"""Models whose results really depend on the shape of a step, and what is then allowed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.drawing.generate import Batch, Shapes
from models.drawing.sampling import RowParams
from models.drawing.shapes import all_shapes, exact_shapes, keeps_bits
from models.pipeline import LoadOptions, Pipeline, load
from models.presets import get_preset
from models.stage2.kv_cache import KVCache
from models.stage2.transformer import Step, Transformer


class FewRowsDiffer(Transformer):
    """Adds 1e-7 where fewer than three rows step."""

    def decode(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> Tensor:
        hidden = super().decode(codes, places, cache, step)
        return hidden + 1e-7 if len(codes) < 3 else hidden


class ShortSpansDiffer(Transformer):
    """Adds 1e-7 where the cache is read over 64 positions or fewer."""

    def decode(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> Tensor:
        hidden = super().decode(codes, places, cache, step)
        return hidden + 1e-7 if step.span <= 64 else hidden


class LastTileDiffers(Transformer):
    """Adds 1e-7 to the rows beyond the last whole tile of eight."""

    def decode(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> Tensor:
        hidden = super().decode(codes, places, cache, step).clone()
        hidden[len(hidden) // 8 * 8 :] += 1e-7
        return hidden


class FewThreadsDiffer(Transformer):
    """Adds 1e-7 where torch has one thread."""

    def decode(self, codes: Tensor, places: Tensor, cache: KVCache, step: Step) -> Tensor:
        hidden = super().decode(codes, places, cache, step)
        return hidden + 1e-7 if torch.get_num_threads() == 1 else hidden


class HeadDiffers(Transformer):
    """Equal states, but logits that differ by 1e-7 where fewer than three rows step."""

    def sample(self, hidden: Tensor, draw: Callable[[Tensor, int], Tensor]) -> Tensor:
        logits = self.head(hidden)
        return draw(logits + 1e-7 if len(hidden) < 3 else logits, 0)[:, None]


def _of(kind: type[Transformer], preset: str = "tiny", ctx_len_img: int = 16) -> Transformer:
    config = replace(get_preset(preset).stage2, ctx_len_img=ctx_len_img)
    torch.manual_seed(5)
    stage2 = kind(config).eval().requires_grad_(False).double()
    for parameter in stage2.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return stage2


def test_fit_rounds_up_to_what_is_allowed() -> None:
    shapes = Shapes(rows=(1, 4, 8), spans=(64, 100))
    assert shapes.fit(1, 1) == (1, 64)
    assert shapes.fit(2, 64) == (4, 64)
    assert shapes.fit(8, 65) == (8, 100)


@pytest.mark.parametrize(
    ("capacity", "positions", "rows", "spans"),
    [
        (1, 23, (1,), (23,)),
        (5, 64, (1, 2, 4, 5), (64,)),
        (8, 319, (1, 2, 4, 8), (64, 128, 192, 256, 319)),
    ],
)
def test_all_shapes_end_with_the_full_one(
    capacity: int, positions: int, rows: tuple[int, ...], spans: tuple[int, ...]
) -> None:
    assert all_shapes(capacity, positions) == Shapes(rows, spans)


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_full_shape_is_always_allowed(capacity: int, dtype: torch.dtype) -> None:
    options = LoadOptions(dtype=dtype, packed=dtype != torch.float64)
    stage2 = load("tiny", options=options).stage2
    shapes = exact_shapes(stage2, capacity)
    assert shapes.rows[-1] >= capacity
    assert shapes.spans[-1] == stage2.config.num_positions
    assert list(shapes.rows) == sorted(set(shapes.rows))


def test_small_batches_that_differ_are_not_used() -> None:
    assert exact_shapes(_of(FewRowsDiffer), 8).rows == (4, 8)
    assert exact_shapes(_of(HeadDiffers), 8).rows == (4, 8)


def test_short_spans_that_differ_are_not_used() -> None:
    assert exact_shapes(_of(ShortSpansDiffer, ctx_len_img=150), 4).spans == (128, 157)


def test_a_model_that_differs_by_nothing_but_nan_still_has_its_full_shape() -> None:
    stage2 = _of(Transformer)
    stage2.ln_f.weight.fill_(torch.nan)
    assert exact_shapes(stage2, 6) == Shapes((6,), (23,))


@pytest.mark.parametrize(("capacity", "num_rows"), [(3, 3), (8, 8), (9, 16), (12, 16)])
def test_a_batch_is_rounded_up_to_whole_tiles(capacity: int, num_rows: int) -> None:
    stage2 = _of(LastTileDiffers)
    shapes = exact_shapes(stage2, capacity)
    assert shapes.rows[-1] == num_rows
    batch = Batch(stage2, capacity, shapes)
    prefix = stage2.prefill(torch.zeros(1, 8, dtype=torch.int64))
    assert batch.num_free == capacity
    rows = batch.admit(prefix, [RowParams(seed=4)] * capacity)
    assert (batch.num_free, rows) == (0, list(range(capacity)))
    while not (finished := batch.step()):
        pass
    codes = batch.take(finished)
    assert torch.equal(codes, codes[:1].expand_as(codes))


def test_a_pipeline_finds_shapes_once_per_capacity(every_tiny: Pipeline) -> None:
    first, second = every_tiny.batch(3), every_tiny.batch(3)
    assert first.shapes is second.shapes
    assert first.capacity == second.capacity == 3


@pytest.mark.parametrize(("kind", "is_kept"), [(Transformer, True), (FewThreadsDiffer, False)])
def test_fewer_threads_are_found_out(kind: type[Transformer], is_kept: bool) -> None:
    stage2 = _of(kind, ctx_len_img=96)
    with ThreadPoolExecutor(1) as executor:
        executor.submit(torch.get_num_threads).result()  # as its first use: see use_threads
        executor.submit(torch.set_num_threads, 2).result()
        shapes = executor.submit(exact_shapes, stage2, 4).result()
        assert executor.submit(keeps_bits, stage2, shapes, 1).result() is is_kept
        assert executor.submit(keeps_bits, stage2, shapes, 2).result()
        assert executor.submit(torch.get_num_threads).result() == 2
