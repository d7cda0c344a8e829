"""Recorded masks of DALL-E and the Axial Transformer, computed again: no checkpoint has them.

An array's name says its mask and sizes; its shape how many positions were recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from models.configs.dalle import Mask, MaskKind, ru_dalle_masks
from models.stage2.masks import SequenceMask, is_in_line
from models.verify.check import Result
from models.verify.recorded import AbsentError, Recorded

_OF_SEQUENCE = re.compile(
    r"(rect_)?n(?P<text>\d+)_(h(?P<height>\d+)_)?w(?P<width>\d+)_k(?P<kernel>\d+)_(?P<kind>\w+)"
)
_OF_IMAGE = re.compile(
    r"axial_h(?P<height>\d+)_w(?P<width>\d+)_(?P<whole>full|masked)_(?P<kind>\w+)"
)
_KINDS: dict[str, MaskKind] = {
    "row": "row",
    "col": "column",
    "conv_v2": "conv_v2",
    "conv_v3": "conv_v3",
    "axial_row": "masked_row",
    "axial_col": "column",
    "conv_like": "conv_like",
}
_SHORT = {"row": "row", "column": "col", "conv_v3": "conv"}  # as patterns are recorded


def masks(recorded: Recorded) -> Iterator[Result]:
    """Of each recorded mask, how many places differ."""
    of_two = {name: array for name, array in recorded.arrays.items() if array.ndim == 2}
    for name, wanted in of_two.items():
        computed = _of_sequence(name, len(wanted))
        if computed is None:
            computed = _of_image(name)
        if computed is None:
            continue
        is_alike = computed.shape == wanted.shape
        error = int((computed.numpy() != wanted).sum()) if is_alike else computed.numel()
        yield Result(name, error, 0, "" if is_alike else f"shape {tuple(computed.shape)}")


def layer_patterns(recorded: Recorded) -> Iterator[Result]:
    """Which layer has which mask, by the number of layers; how many layers differ."""
    try:
        patterns: dict[str, list[str]] = recorded.fact("layer_pattern")
    except AbsentError:
        return
    for count, wanted in patterns.items():
        found = [_SHORT[kind] for kind in ru_dalle_masks(int(count))]
        error = sum(ours != theirs for ours, theirs in zip(found, wanted, strict=True))
        yield Result(f"layer_pattern.{count}", error, 0)


def _of_sequence(name: str, num_positions: int) -> Tensor | None:
    """A mask over text and image; None where the name is no such mask's."""
    found = _OF_SEQUENCE.fullmatch(name)
    if found is None or found["kind"] not in _KINDS:
        return None
    width = int(found["width"])
    grid = (int(found["height"] or width), width)
    mask = Mask(_KINDS[found["kind"]], int(found["kernel"]))
    device = torch.device("cpu")
    return SequenceMask(mask, int(found["text"]), grid).over(num_positions, device)


def _of_image(name: str) -> Tensor | None:
    """A mask over an image alone; None where the name is no such mask's."""
    found = _OF_IMAGE.fullmatch(name)
    if found is None or found["kind"] not in ("row", "col"):
        return None
    grid = (int(found["height"]), int(found["width"]))
    cells = torch.arange(grid[0] * grid[1])
    line = is_in_line("row" if found["kind"] == "row" else "column", grid, cells[:, None], cells)
    return line if found["whole"] == "full" else line & (cells <= cells[:, None])
