"""Masks by their definitions; recorded ones are compared in tests/models/verify/test_dalle.py."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.configs.dalle import Mask, MaskKind
from models.stage2.blocks import Block, BlockOptions
from models.stage2.masks import SequenceMask, is_in_line, sees
from tests.models.shapes import SmallBlock

KINDS: tuple[MaskKind, ...] = get_args(MaskKind)
_GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 5))
_KERNELS = st.sampled_from([1, 3, 5])
_CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("mask", "cells"),
    [
        (Mask("full"), range(10)),
        (Mask("row"), range(4, 10)),  # the last w and itself, over the row's start
        (Mask("column"), (4, 9)),
        (Mask("masked_row"), range(5, 10)),
        (Mask("conv_v3", 3), (3, 4, 8, 9)),
        (Mask("conv_v2", 3), (0, 3, 4, 5, 8, 9)),  # the next column is the first one
        (Mask("conv_like", 2), (3, 4, 8, 9)),
    ],
)
def test_the_last_cell_of_the_second_row_of_five(mask: Mask, cells: tuple[int, ...]) -> None:
    seen = sees(mask, (4, 5), torch.tensor(9), torch.arange(20))
    assert seen.nonzero().flatten().tolist() == list(cells)


def test_a_full_line_has_later_cells_too() -> None:
    cells = torch.arange(6)
    rows = is_in_line("row", (2, 3), cells[:, None], cells)
    assert torch.equal(rows[4], torch.tensor([False] * 3 + [True] * 3))
    columns = is_in_line("column", (2, 3), cells[:, None], cells)
    assert columns[1].nonzero().flatten().tolist() == [1, 4]


@given(grid=_GRIDS, kernel=_KERNELS, kind=st.sampled_from(KINDS))
@settings(max_examples=60)
def test_a_window_is_as_long_as_it_must_be(
    grid: tuple[int, int], kernel: int, kind: MaskKind
) -> None:
    mask, cells = Mask(kind, kernel), torch.arange(grid[0] * grid[1])
    seen = sees(mask, grid, cells[:, None], cells)
    assert seen.diagonal().all()
    farthest = int((cells[:, None] - cells)[seen].max()) + 1
    assert farthest <= mask.window(grid)
    if kind in ("row", "masked_row", "full"):
        assert farthest == mask.window(grid)


@given(
    grid=_GRIDS,
    kernel=_KERNELS,
    kind=st.sampled_from(KINDS),
    num_text=st.integers(1, 4),
    data=st.data(),
)
@settings(max_examples=80)
def test_a_step_sees_in_its_slots_what_the_whole_mask_sees(
    grid: tuple[int, int], kernel: int, kind: MaskKind, num_text: int, data: st.DataObject
) -> None:
    mask, num_cells = Mask(kind, kernel), grid[0] * grid[1]
    num_kept = data.draw(st.integers(mask.window(grid), num_cells), "kept")
    cell = data.draw(st.integers(0, num_cells - 1), "cell")
    num_slots = data.draw(st.integers(min(cell + 1, num_kept), num_kept), "slots")
    sequence = SequenceMask(mask, num_text, grid)
    written, hidden = sequence.sight(torch.tensor([cell]), num_kept, num_slots, torch.float32)
    held: dict[int, int] = {}  # what the cache holds when this cell's keys are written, by slot
    for earlier in range(cell + 1):
        held[earlier % num_kept] = earlier
    assert written.item() == num_text + cell % num_kept
    assert hidden.shape == (1, num_text + num_slots)
    shown = (hidden[0] == 0).nonzero().flatten().tolist()
    assert shown[:num_text] == list(range(num_text))
    found = sorted(held[position - num_text] for position in shown[num_text:])
    wanted = sequence.over(num_text + num_cells, _CPU)[num_text + cell, num_text:]
    assert found == wanted.nonzero().flatten().tolist()


@given(
    grid=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    kernel=_KERNELS,
    kind=st.sampled_from(KINDS),
    num_text=st.integers(1, 3),
    sandwich=st.booleans(),
)
@settings(max_examples=40)
def test_derivatives_are_zero_outside_of_what_is_seen_and_nowhere_inside(
    grid: tuple[int, int], kernel: int, kind: MaskKind, num_text: int, sandwich: bool
) -> None:
    torch.manual_seed(0)
    block = Block(SmallBlock(), BlockOptions(sandwich, tanh_gelu=True)).double()
    num_positions = num_text + grid[0] * grid[1]
    seen = SequenceMask(Mask(kind, kernel), num_text, grid).over(num_positions, _CPU)
    x = torch.randn(1, num_positions, SmallBlock.embed_dim, dtype=torch.float64)
    x.requires_grad_()
    out = block(x, seen)[0][0] @ torch.randn(SmallBlock.embed_dim, dtype=torch.float64)
    for position in range(num_positions):
        (gradient,) = torch.autograd.grad(out[position], x, retain_graph=True)
        assert torch.equal((gradient[0] != 0).any(-1), seen[position])
