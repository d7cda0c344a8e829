"""From a picture to forced codes, and from drawn pictures back to it, in every family."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.drawing.candidates import draw_all
from models.drawing.forced import FREE
from models.drawing.sampling import RowParams
from models.known import SEAM, Kept, Known, NoGridError, known_of, open_steps, takes_pictures
from models.pictures import to_bytes
from models.pipeline import LoadOptions, Pipeline, load, load_random
from models.presets.register import PRESETS, get_preset
from tests.models.conftest import PROMPTS, TINY
from tests.models.drawing.test_forced import PIXELS
from tests.models.mindalle import shape
from tests.models.priors import OTHERS, load_any

_PARAMS = [RowParams(seed=3, candidate=i) for i in range(2)]


@pytest.fixture(scope="module", params=(*TINY, *OTHERS, "tiny-rq", "tiny-hq", "tiny-hq-uncond"))
def family(request: pytest.FixtureRequest) -> Pipeline:
    return load_any(request.param)


def _levels(pipeline: Pipeline) -> Tensor:
    width, height = pipeline.preset.size
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, height, width), generator=generator).to(torch.uint8)


def _hole(pipeline: Pipeline, *, part: float = 0.4) -> Tensor:
    """A hole at the lower right."""
    width, height = pipeline.preset.size
    hole = torch.zeros(height, width, dtype=torch.bool)
    hole[int(height * (1 - part)) :, int(width * (1 - part)) :] = True
    return hole


def _drawn(pipeline: Pipeline, known: Known) -> Tensor:
    """Finished pictures [2, 3, H, W]."""
    encoded = pipeline.encode(PROMPTS[pipeline.preset.prompt_kind][0])
    prefix = pipeline.prefix(encoded, known.forced)
    codes = draw_all(pipeline.batch(2), prefix, _PARAMS, forced=known.forced).codes
    return known.finish(pipeline.pixels(codes))


def test_outside_of_the_hole_every_byte_is_the_sources(family: Pipeline) -> None:
    levels, hole = _levels(family), _hole(family)
    known = known_of(family, levels, hole, Kept())
    found = torch.from_numpy(to_bytes(_drawn(family, known))).permute(0, 3, 1, 2)
    assert (found == levels)[:, :, ~hole].all()
    raw = _drawn(family, known_of(family, levels, hole, Kept(blend=False)))
    deep = torch.zeros_like(hole)
    deep[-3:, -3:] = True  # behind the seam
    same = torch.from_numpy(to_bytes(raw)).permute(0, 3, 1, 2) == found
    assert same[:, :, deep].all()
    assert not same.all()


def test_what_the_hole_touches_is_free_and_nothing_else(family: Pipeline) -> None:
    hole = _hole(family)
    known = known_of(family, _levels(family), hole, Kept())
    num_steps = family.preset.num_steps
    side = int(num_steps**0.5)
    cells = hole.unfold(0, hole.shape[0] // side, hole.shape[0] // side)
    cells = cells.unfold(1, hole.shape[1] // side, hole.shape[1] // side)
    touched = cells.flatten(2).any(-1).flatten()
    assert 0 < touched.sum() < num_steps
    assert torch.equal((known.forced.codes == FREE).all(-1), touched)
    whole = family.stage1.encode(_levels(family)[None].float() / 255)[0]
    assert torch.equal(known.forced.codes[~touched], whole[~touched])


@pytest.mark.parametrize("name", PIXELS)
def test_where_codes_are_pixels_nothing_has_to_be_put_back(name: str) -> None:
    """Whatever the order in which they are drawn."""
    pipeline = load(name)
    levels, hole = _levels(pipeline), _hole(pipeline)
    known = known_of(pipeline, levels, hole, Kept(blend=False))
    raw = to_bytes(_drawn(pipeline, known) + 1e-4)
    exact = (pipeline.stage1.pixels(pipeline.stage1.encode(levels[None] / 255)) * 255).round()
    same = torch.from_numpy(raw).permute(0, 3, 1, 2) == exact
    assert same[:, :, ~hole].all()
    assert not same[:, :, hole].all()
    kept = known_of(pipeline, levels, torch.zeros_like(hole), Kept(keep=0.5))
    upper = to_bytes(_drawn(pipeline, kept) + 1e-4)
    same = torch.from_numpy(upper).permute(0, 3, 1, 2) == exact
    half = hole.shape[0] // 2
    assert same[:, :, :half].all()
    assert not same[:, :, half:].all()


def test_a_hole_of_one_pixel_frees_one_cell(family: Pipeline) -> None:
    hole = torch.zeros_like(_hole(family))
    hole[-1, 0] = True
    assert open_steps(family, hole, Kept()).sum() == 1
    assert not open_steps(family, torch.zeros_like(hole), Kept()).any()
    assert open_steps(family, torch.ones_like(hole), Kept()).all()


def test_a_hole_lies_where_its_codes_are_drawn_in_whatever_order() -> None:
    """Of rows to and fro: the second row's first cell is drawn last in it."""
    pipeline = load("tiny-taming-uncond")
    hole = torch.zeros(32, 32, dtype=torch.bool)
    hole[8:16, :8] = True
    assert open_steps(pipeline, hole, Kept()).nonzero().tolist() == [[7]]
    known = known_of(pipeline, _levels(pipeline), hole, Kept(blend=False))
    assert (known.forced.codes == FREE).nonzero().tolist() == [[7, 0]]


def test_codes_that_the_prior_lacks_are_drawn() -> None:
    """A codec may have a larger codebook than its prior has codes to draw."""
    preset = replace(PRESETS["tiny"], stage2=replace(shape("tiny"), vocab_size_img=32))
    pipeline, hole = load_random(preset, LoadOptions()), torch.zeros(32, 32, dtype=torch.bool)
    codes = pipeline.stage1.encode(_levels(pipeline)[None].float() / 255)[0]
    assert (codes >= 32).any()
    found = known_of(pipeline, _levels(pipeline), hole, Kept()).forced.codes
    assert torch.equal(found, codes.masked_fill(codes >= 32, FREE))


def test_rows_are_kept_from_the_top(family: Pipeline) -> None:
    hole, num_steps = torch.zeros_like(_hole(family)), family.preset.num_steps
    side = int(num_steps**0.5)
    for keep, rows in ((0.0, 0), (0.5, side // 2), (1.0, side)):
        opened = open_steps(family, hole, Kept(keep=keep))
        assert opened.tolist() == [step >= rows * side for step in range(num_steps)]


def test_of_a_hole_no_share_is_kept(family: Pipeline) -> None:
    hole = _hole(family)
    nothing, touched = torch.zeros_like(hole), open_steps(family, hole, Kept())
    for kept in (Kept(keep=0.75), Kept(keep=1.0), Kept(strength=0.25), Kept(strength=0.0)):
        share = open_steps(family, nothing, kept)
        assert torch.equal(open_steps(family, hole, kept), share | touched)


def test_a_share_of_cells_is_chosen_by_the_seed(family: Pipeline) -> None:
    hole, num_steps = torch.zeros_like(_hole(family)), family.preset.num_steps
    quarter = open_steps(family, hole, Kept(strength=0.25, seed=1))
    half = open_steps(family, hole, Kept(strength=0.5, seed=1))
    assert [int(quarter.sum()), int(half.sum())] == [num_steps // 4, num_steps // 2]
    assert half[quarter].all()  # more strength draws what less does, and more
    assert not torch.equal(half, open_steps(family, hole, Kept(strength=0.5, seed=2)))


def test_a_preview_shows_what_is_known(family: Pipeline) -> None:
    known = known_of(family, _levels(family), _hole(family), Kept())
    codes = torch.zeros_like(known.forced.codes)[None]
    shown = torch.from_numpy(to_bytes(known.preview(family, codes, 1)))[0].permute(2, 0, 1)
    outside = ~_hole(family)
    assert torch.equal(shown[:, outside], _levels(family)[:, outside])


def test_the_seam_leads_from_the_source_to_what_is_drawn() -> None:
    pipeline = load("tiny")
    levels = torch.full((3, 32, 32), 100, dtype=torch.uint8)
    hole = torch.zeros(32, 32, dtype=torch.bool)
    hole[:, 10:] = True
    levels[:, hole] = 255  # what stood in the hole leaves no trace
    known = known_of(pipeline, levels, hole, Kept())
    row = to_bytes(known.finish(torch.zeros(1, 3, 32, 32)))[0, 5, :, 0].tolist()
    assert row[:10] == [100] * 10
    assert row[10 : 10 + SEAM] == sorted(row[10 : 10 + SEAM], reverse=True)
    assert 0 < row[10 + SEAM - 1] < row[10] < 100
    assert row[10 + SEAM :] == [0] * (22 - SEAM)


@pytest.mark.parametrize(
    ("side", "wanted"),
    [
        (1, [1.0]),
        (2, [1.0, 1.0]),
        (3, [1 / 2, 1, 1 / 2]),
        (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        (8, [1 / 4, 1 / 2, 3 / 4, 1, 1, 3 / 4, 1 / 2, 1 / 4]),
    ],
)
def test_the_middle_of_a_small_hole_is_drawn(side: int, wanted: list[float]) -> None:
    hole = torch.zeros(32, 32, dtype=torch.bool)
    hole[10 : 10 + side, 10 : 10 + side] = True
    weight = known_of(load("tiny"), torch.zeros(3, 32, 32).byte(), hole, Kept()).weight
    assert weight is not None
    assert torch.allclose(weight[10 + side // 2, 10 : 10 + side], torch.tensor(wanted))
    assert (weight[~hole] == 0).all()


def test_round_holes_have_all_of_the_seam() -> None:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    for radius in (6, 8.5, 11):
        hole = (x - 15.3) ** 2 + (y - 15) ** 2 <= radius**2
        weight = known_of(load("tiny"), torch.zeros(3, 32, 32).byte(), hole, Kept()).weight
        assert weight is not None
        whole, edge = torch.ones(32, 32), ~hole
        for steps in range(SEAM, 0, -1):  # from the middle outwards
            near = torch.nn.functional.max_pool2d(edge[None].float(), 2 * steps + 1, 1, steps)[0]
            whole = torch.where(near > 0, steps / (SEAM + 1), whole)
        assert torch.equal(weight, whole.masked_fill(edge, 0))


def test_a_model_whose_steps_are_no_grid_takes_no_pictures(family: Pipeline) -> None:
    assert takes_pictures(family.preset)
    with pytest.raises(NoGridError, match="are no grid over 5x7"):
        open_steps(family, torch.zeros(7, 5, dtype=torch.bool), Kept())
    assert not takes_pictures(get_preset("tiny-hq-scales"))
