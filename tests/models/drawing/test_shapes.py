"""Models whose results really depend on the shape of a step, and what is then allowed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.configs.pixels import PixelCNNPPConfig
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.drawing.shapes import Shapes, exact_shapes, keeps_bits
from models.pipeline import LoadOptions, Pipeline, load, load_random
from models.presets.register import PRESETS, get_preset
from models.stage2.kv_cache import KVCache, reaches
from models.stage2.pixel_cnn_pp import PixelCNNPP
from models.stage2.pixel_cnn_pp_cached import PPState
from models.stage2.prior import Draw
from models.stage2.transformer import Transformer
from tests.models.mindalle import codec_shape, shape


class FewRowsDiffer(Transformer):
    """Adds 1e-7 where fewer than three rows step."""

    def decode(self, codes: Tensor, places: Tensor, state: KVCache, reach: int) -> Tensor:
        hidden = super().decode(codes, places, state, reach)
        return hidden + 1e-7 if len(codes) < 3 else hidden


class ShortReachesDiffer(Transformer):
    """Adds 1e-7 where a step looks at no more than 64 positions, 8 of them the prompt's."""

    def decode(self, codes: Tensor, places: Tensor, state: KVCache, reach: int) -> Tensor:
        hidden = super().decode(codes, places, state, reach)
        return hidden + 1e-7 if reach <= 56 else hidden


class FewRowsDrawOthers(Transformer):
    """Looks at other states where fewer than three rows draw."""

    def sample(self, hidden: Tensor, state: KVCache, draw: Draw) -> Tensor:
        return super().sample(hidden.flip(-1) if len(hidden) < 3 else hidden, state, draw)


class LastTileDiffers(Transformer):
    """Adds 1e-7 to the rows beyond the last whole tile of eight."""

    def decode(self, codes: Tensor, places: Tensor, state: KVCache, reach: int) -> Tensor:
        hidden = super().decode(codes, places, state, reach).clone()
        hidden[len(hidden) // 8 * 8 :] += 1e-7
        return hidden


class FewThreadsDiffer(Transformer):
    """Adds 1e-7 where torch has one thread."""

    def decode(self, codes: Tensor, places: Tensor, state: KVCache, reach: int) -> Tensor:
        hidden = super().decode(codes, places, state, reach)
        return hidden + 1e-7 if torch.get_num_threads() == 1 else hidden


class CoarseScalesDiffer(PixelCNNPP):
    """Adds 1e-7 where fewer than three rows begin a cell of the coarsest scale."""

    def decode(self, codes: Tensor, places: Tensor, state: PPState, reach: int) -> Tensor:
        hidden = super().decode(codes, places, state, reach)
        line, column = divmod(int(places[0]) + 1, self.config.width)
        begins = (line | column) % 2 ** (self.config.scales - 1) == 0
        return hidden + 1e-7 if begins and len(codes) < 3 else hidden


class HeadDiffers(Transformer):
    """Equal states, but logits that differ by 1e-7 where fewer than three rows step."""

    def sample(self, hidden: Tensor, state: KVCache, draw: Draw) -> Tensor:
        logits = self.head(hidden)
        return draw(logits + 1e-7 if len(hidden) < 3 else logits, 0)[:, None]


def _of(kind: type[Transformer], preset: str = "tiny", ctx_len_img: int = 16) -> Transformer:
    config = replace(shape(preset), ctx_len_img=ctx_len_img)
    torch.manual_seed(5)
    stage2 = kind(config).eval().requires_grad_(False).double()
    for parameter in stage2.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return stage2


def test_fit_rounds_up_to_what_is_allowed() -> None:
    shapes = Shapes(rows=(1, 4, 8), reaches=(64, 100))
    assert shapes.fit(1, 1) == (1, 64)
    assert shapes.fit(2, 64) == (4, 64)
    assert shapes.fit(8, 65) == (8, 100)


@pytest.mark.parametrize(
    ("ctx_len_img", "on_cpu", "on_gpu"),
    [
        (8, (7,), (7,)),
        (16, (8, 15), (15,)),
        (57, (8, 24, 40, 56), (56,)),
        (58, (8, 24, 40, 56, 57), (56, 57)),
        (150, (24, 56, 88, 120, 149), (56, 120, 149)),
    ],
)
def test_a_transformer_reads_its_cache_up_to_some_positions(
    ctx_len_img: int, on_cpu: tuple[int, ...], on_gpu: tuple[int, ...]
) -> None:
    stage2 = _of(Transformer, ctx_len_img=ctx_len_img)
    assert stage2.reaches == on_cpu
    assert stage2.bfloat16().reaches == on_cpu[-1:]
    assert reaches(8, ctx_len_img, torch.device("cuda"), torch.bfloat16) == on_gpu


@pytest.mark.parametrize(("capacity", "rows"), [(1, (1,)), (5, (1, 2, 4, 5)), (8, (1, 2, 4, 8))])
def test_row_counts_end_with_the_full_one(capacity: int, rows: tuple[int, ...]) -> None:
    stage2 = _of(Transformer)
    for parameter in stage2.parameters():
        parameter.zero_()  # nothing to round: every shape is exact
    assert exact_shapes(stage2, capacity).rows == rows


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_full_shape_is_always_allowed(capacity: int, dtype: torch.dtype) -> None:
    options = LoadOptions(dtype=dtype, packed=dtype != torch.float64)
    stage2 = load("tiny", options=options).stage2
    shapes = exact_shapes(stage2, capacity)
    assert shapes.rows[-1] >= capacity
    assert shapes.reaches[-1] == stage2.num_steps - 1
    assert list(shapes.rows) == sorted(set(shapes.rows))


def test_small_batches_that_differ_are_not_used() -> None:
    assert exact_shapes(_of(FewRowsDiffer), 8).rows == (4, 8)
    assert exact_shapes(_of(HeadDiffers), 8).rows == (4, 8)


@pytest.mark.parametrize("preset", ["tiny-pixelcnn++", "tiny-pixelcnn++-gray"])
def test_scales_that_are_computed_now_and_then_are_tried(preset: str) -> None:
    config = get_preset(preset).stage2
    assert isinstance(config, PixelCNNPPConfig)
    prior = CoarseScalesDiffer(config).eval().requires_grad_(False).double()
    for name, parameter in prior.named_parameters():
        parameter.fill_(name.endswith("_v"))  # no gain, nothing to round: every shape is exact
    assert exact_shapes(prior, 8).rows == (4, 8)


def test_short_reaches_that_differ_are_not_used() -> None:
    assert exact_shapes(_of(ShortReachesDiffer, ctx_len_img=150), 4).reaches == (88, 120, 149)


def test_a_model_that_differs_by_nothing_but_nan_still_has_its_full_shape() -> None:
    stage2 = _of(Transformer)
    stage2.ln_f.weight.fill_(torch.nan)
    assert exact_shapes(stage2, 6) == Shapes((6,), (15,))


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


def test_a_picture_of_one_step_is_drawn_from_its_prompt() -> None:
    preset = replace(
        PRESETS["tiny-uncond"],
        stage1=replace(codec_shape("tiny-uncond"), resolution=8),
        stage2=replace(shape("tiny-uncond"), ctx_len_img=1),
    )
    pipeline = load_random(preset, LoadOptions())
    drawn = pipeline.generate(None, [RowParams(seed=1, candidate=i) for i in range(3)])
    assert [picture.pixels.shape for picture in drawn] == [(3, 8, 8)] * 3
    assert pipeline.keeps_bits(pipeline.batch(3).shapes, torch.get_num_threads() + 1)


@torch.inference_mode()
def test_first_codes_are_drawn_at_a_row_count_that_changes_no_bit() -> None:
    torch.manual_seed(0)
    prior = FewRowsDrawOthers(shape("tiny-uncond")).eval()
    shapes = exact_shapes(prior, 8)
    assert shapes.rows == (4, 8)
    prefix, params = prior.prefill(torch.zeros(1, 1).long()), [RowParams(1, i) for i in range(5)]
    together, alone = Batch(prior, 8, shapes), Batch(prior, 8, shapes)
    first = together.peek(together.admit(prefix, params))[0][:, 0]
    rows = [row for one in params for row in alone.admit(prefix, [one])]
    assert torch.equal(alone.peek(rows)[0][:, 0], first)
    assert len(set(first.flatten().tolist())) > 1
