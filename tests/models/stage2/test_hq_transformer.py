from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.hq import HQTransformerConfig
from models.configs.transformer import StackConfig
from models.drawing.candidates import draw_all
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.files import config
from models.files.official import OfficialWeights
from models.files.weights import fill, on_meta
from models.stage1.hq_vae import to_cells, to_grids
from models.stage2.hq_transformer import HQTransformer
from models.stage2.prior import one_by_one
from tests.models.golden import GOLDEN, arrays

_SMALL = StackConfig(32, 1, 4, resid_pdrop=0.0)
_PLAIN = HQTransformerConfig(
    prefix="class",
    num_steps=9,
    sizes=(13, 11),
    ctx_len_img=9,
    n_classes=5,
    body=_SMALL,
    head=_SMALL,
)
# What neither the recorded sets nor the tiny presets have.
_OPTIONS = {
    "reduce-by-nine": replace(
        _PLAIN, ratio=3, embedding="reduce", body=StackConfig(36, 1, 4), head=StackConfig(36, 2, 3)
    ),
    "multiple-in-parallel": replace(_PLAIN, embedding="multiple"),
    "multiple-one-by-one": replace(_PLAIN, embedding="multiple", drawing="causal"),
    "text-and-bidirectional": replace(
        _PLAIN,
        prefix="text",
        vocab_size_txt=20,
        ctx_len_txt=4,
        drawing="bidirectional",
        embedding="bidirectional",
        n_emb_blocks=2,
    ),
    "four-levels": replace(_PLAIN, sizes=(9, 8, 7, 6), drawing="multilevel", n_emb_blocks=1),
    "two-levels-by-the-names-of-many": replace(_PLAIN, drawing="multilevel"),
    "one-cell": replace(_PLAIN, num_steps=1),
}


def _random(shape: HQTransformerConfig) -> HQTransformer:
    torch.manual_seed(0)
    model = HQTransformer(shape).eval().double().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def _inputs(shape: HQTransformerConfig, num_rows: int = 2) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    prefix = torch.randint(shape.prompt_vocab_size, (num_rows, shape.prompt_len), generator=rng)
    codes = [
        torch.randint(size, (num_rows, shape.num_steps), generator=rng)
        for size in shape.vocab_sizes
    ]
    return prefix, torch.stack(codes, -1)


@pytest.fixture(scope="module")
def three_levels() -> tuple[HQTransformer, dict[str, Tensor]]:
    """The recorded model of three levels; of its set there are only stage 2 and some arrays."""
    folder = GOLDEN / "hq_level3"
    shape = config.read(folder).stage2
    assert isinstance(shape, HQTransformerConfig)
    model = on_meta(lambda: HQTransformer(shape))
    weights = OfficialWeights(folder / "ckpt" / "last.ckpt", "stage2.", shape)
    fill(model, weights, "cpu", torch.float32)
    tensors = {key: torch.from_numpy(value) for key, value in arrays("hq_level3").items()}
    return model, {k: t if t.is_floating_point() else t.long() for k, t in tensors.items()}


def _recorded_cells(wanted: dict[str, Tensor], array: str) -> Tensor:
    levels = [wanted[f"{array}_{name}"] for name in ("top", "mid", "bot")]
    return to_cells(
        [level.view(len(level), side, side) for level, side in zip(levels, (4, 8, 16), strict=True)]
    )


@torch.inference_mode()
def test_logits_of_three_levels_are_the_recorded_ones(
    three_levels: tuple[HQTransformer, dict[str, Tensor]],
) -> None:
    model, wanted = three_levels
    logits, _ = model(wanted["tf_labels"][:1, None], _recorded_cells(wanted, "tf_codes")[:1])
    numbers = torch.arange(16 * 21).view(1, 16, 21)
    starts = accumulate(model.config.codes_per_level, initial=0)
    for name, level, start in zip(("top", "mid", "bot"), range(3), starts, strict=False):
        recorded = wanted[f"tf_logits_{name}"]
        order = to_grids(numbers, (4, 8, 16))[level].flatten()[: recorded.shape[1]]
        assert int(order[0]) == start
        found = logits.flatten(1, 2)[:, order, : recorded.shape[2]]
        torch.testing.assert_close(found, recorded, atol=2e-4, rtol=0)


def test_three_levels_draw_the_recorded_codes(
    three_levels: tuple[HQTransformer, dict[str, Tensor]],
) -> None:
    model, wanted = three_levels
    with torch.inference_mode():
        prefix = model.prefill(wanted["greedy_labels"][:1, None])
        drawn = draw_all(Batch(model, 1), prefix, [RowParams(0, top_k=1)]).codes
    assert torch.equal(drawn, _recorded_cells(wanted, "greedy_codes")[:1])


@pytest.mark.parametrize("name", _OPTIONS)
@torch.inference_mode()
def test_one_cell_at_a_time_equals_the_whole_sequence(name: str) -> None:
    model = _random(_OPTIONS[name])
    ids, codes = _inputs(model.config, num_rows=1)
    whole, _ = model(ids, codes)
    prefix, state = model.prefill(ids), model.new_state(1)
    state.put(prefix, torch.tensor([0]))
    hidden = prefix.hidden
    for place in range(model.num_steps):

        def given(logits: Tensor, depth: int, place: int = place) -> Tensor:
            wanted = whole[:, place, depth, : logits.shape[-1]]
            torch.testing.assert_close(logits, wanted)
            return codes[:, place, depth]

        assert torch.equal(model.sample(hidden, state, one_by_one(given)), codes[:, place])
        if place + 1 < model.num_steps:
            hidden = model.decode(codes[:, place], torch.tensor([place]), state, model.reaches[-1])


@pytest.mark.parametrize("name", _OPTIONS)
@torch.inference_mode()
def test_coarsest_logits_are_the_first_ones_of_each_cell(name: str) -> None:
    model = _random(_OPTIONS[name])
    ids, codes = _inputs(model.config)
    first = model.coarsest_logits(ids, codes)
    torch.testing.assert_close(first, model(ids, codes)[0][:, :, 0, : first.shape[-1]])


@pytest.mark.parametrize("name", _OPTIONS)
@torch.inference_mode()
def test_a_code_depends_on_earlier_windows_and_cells_alone(name: str) -> None:
    model = _random(_OPTIONS[name])
    ids, codes = _inputs(model.config, num_rows=1)
    before, _ = model(ids, codes)
    windows = [w for w, count in enumerate(model.config.windows) for _ in range(count)]
    order = torch.tensor([[t * len(windows) + w for w in windows] for t in range(model.num_steps)])
    for place, depth in [(0, 0), (0, model.depth - 1), (model.num_steps - 1, 1)]:
        changed = codes.clone()
        changed[0, place, depth] = (changed[0, place, depth] + 1) % model.vocab_sizes[depth]
        moved = ((model(ids, changed)[0] - before).nan_to_num().abs() > 1e-9).any(-1)[0]  # [T, D]
        assert not moved[order <= order[place, depth]].any()
        later = torch.arange(model.num_steps) > place
        assert moved[later].all()
        assert model.config.drawing == "bidirectional" or depth or moved[place, 1:].all()


def test_levels_with_fewer_codes_never_draw_beyond_them() -> None:
    model = _random(_OPTIONS["four-levels"])
    logits, _ = model(*_inputs(model.config))
    for depth, size in enumerate(model.vocab_sizes):
        assert logits[:, :, depth, :size].isfinite().all()
        assert (logits[:, :, depth, size:] == -torch.inf).all()


def test_positions_by_row_and_column_are_the_grids_whatever_the_table() -> None:
    shape = replace(_PLAIN, position_embedding="2d", ctx_len_img=25)
    model = _random(shape)
    ids, codes = _inputs(shape)
    before = model(ids, codes)[0]
    model.cell.pos_emb_top_w.weight[3:] += 1
    assert torch.equal(model(ids, codes)[0], before)
    model.cell.pos_emb_top_w.weight[0] += 1
    moved = (model(ids, codes)[0] != before).flatten(2).any(-1)[0]
    assert moved.tolist() == [False] + [True] * 8
    first = model.cell(codes[0, :1], torch.tensor([0])), model.cell(codes[0, :1], torch.tensor([3]))
    assert not torch.equal(*first)
    by_row = model.cell.pos_emb_top_h.weight
    torch.testing.assert_close((first[1] - first[0])[0] * 5, by_row[1] - by_row[0])


def _level_means(model: HQTransformer, logits: Tensor, codes: Tensor) -> list[float]:
    parts = F.cross_entropy(logits.flatten(0, 2), codes.flatten(), reduction="none")
    split = torch.split(parts.view(codes.shape), list(model.config.codes_per_level), -1)
    return [float(part.mean()) for part in split]


def test_the_texts_share_is_weighed_with_the_finer_codes() -> None:
    shape = replace(
        _OPTIONS["text-and-bidirectional"], weight_bottom=3.0, weight_img=0.9, weight_txt=0.1
    )
    model = _random(shape)
    ids, codes = _inputs(shape)
    logits, text = model(ids, codes)
    assert text is not None
    top, bottom = _level_means(model, logits, codes)
    of_text = float(F.cross_entropy(text.flatten(0, 1), ids[:, 1:].flatten()))
    wanted = 0.9 * (top + 3 * bottom) + 0.1 * 4 * of_text
    assert float(model.loss(ids, codes)) == pytest.approx(wanted)


def test_many_levels_are_weighed_by_their_codes() -> None:
    model = _random(_OPTIONS["four-levels"])
    ids, codes = _inputs(model.config)
    means = _level_means(model, model(ids, codes)[0], codes)
    wanted = sum(4**level * mean for level, mean in enumerate(means))
    assert float(model.loss(ids, codes)) == pytest.approx(wanted)


def test_soft_targets_of_single_codes_are_the_hard_loss() -> None:
    model = _random(_OPTIONS["four-levels"])
    ids, codes = _inputs(model.config)
    sizes = zip(codes.unbind(-1), model.vocab_sizes, strict=True)
    targets = [F.one_hot(code, size).double() for code, size in sizes]
    assert float(model.loss(ids, codes, targets)) == pytest.approx(float(model.loss(ids, codes)))


def test_a_cell_is_the_mean_of_its_codes() -> None:
    model = _random(_PLAIN).cell
    codes, place = torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([2])
    top, bottom = model.tok_emb_levels.parameters()
    tokens = [top[3] + model.pos_emb_top.weight[2], *(bottom[i] for i in (1, 4, 1, 5))]
    wanted = (torch.stack(tokens) + model.pos_emb_emb.weight).mean(0)
    torch.testing.assert_close(model(codes, place)[0], wanted)


def test_narrow_tokens_are_laid_out_channel_by_channel() -> None:
    model = _random(replace(_PLAIN, embedding="reduce")).cell
    model.pos_emb_top.weight.zero_()
    codes = torch.tensor([[0, 1, 2, 3, 4]])
    top, narrow = model.tok_emb_levels.parameters()
    top.zero_()
    made = model(codes, torch.tensor([0]))[0]
    assert made[:5].tolist() == [*narrow[1:5, 0].tolist(), float(narrow[1, 1])]
