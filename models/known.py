"""What is known of a picture that begins with another one: codes to force, pixels to put back.

From a source's pixels to the codes that are kept of it, and from what was drawn back to a picture
in which the source's own pixels stand where nothing was to change. Knows no jobs and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.configs.preset import Preset
from models.drawing.forced import FREE, Forced
from models.drawing.sampling import RowParams
from models.drawing.streams import uniforms
from models.pipeline import Makers, Pipeline, Prompt
from models.stage1.codec import Ordered

SEAM = 3  # pixels inside a hole's edge over which the source gives way to what was drawn
_NEARBY = SEAM + 1  # pixels; of less, not even large round holes would have all of the seam
_CELLS_STREAM = 2**32 - 1  # no job's candidate has this number, so no code is drawn by these
_HALF = 0.5  # a level of 8 bits is made a number in its middle, since bytes are made by truncation


class NoGridError(ValueError):
    """A model's steps are no single grid of cells: no part of a picture is a part of them."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a source outside its hole: all, or the first share of rows of codes, or all
    but a share of the cells, which the seed chooses. With `blend`, where all is kept the source's
    own pixels are put back there.
    """

    keep: float | None = None
    strength: float | None = None
    seed: int = 0
    blend: bool = True

    @property
    def has_hole(self) -> bool:
        """Whether the source's own hole alone says what is drawn anew."""
        return self.keep is None and self.strength is None


@dataclass(frozen=True, slots=True)
class Known:
    """The codes to force, and pixels [3, H, W] to put back, with the weight [H, W] of the drawn."""

    forced: Forced
    pixels: Tensor
    weight: Tensor | None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to be drawn."""
        return bool((self.forced.codes != FREE).all())

    def psnr_db(self, levels: NDArray[np.uint8]) -> float | None:
        """How near 8-bit pixels [H, W, 3] are to the source's; None where they are the same."""
        own = (self.pixels * 255 + 0.25).floor().permute(1, 2, 0).cpu().double()
        error = (torch.from_numpy(levels).double() - own).square().mean()
        return round(float(10 * (255**2 / error).log10()), 3) if error > 0 else None

    def finish(self, drawn: Tensor) -> Tensor:
        """Drawn pictures [n, 3, H, W] with the source's own pixels where they belong."""
        if self.weight is None:
            return drawn
        mixed = self.weight * drawn + (1 - self.weight) * self.pixels
        return torch.where(self.weight == 0, self.pixels, mixed)

    def preview(self, pipeline: Pipeline, codes: Tensor, count: int) -> Tensor:
        """A picture [1, 3, H, W] of codes [1, T, d], of which `count` steps are drawn."""
        filled = codes.clone()
        filled[:, count:] = filled[:, count - 1, None]
        known = self.forced.codes[:, : codes.shape[-1]]
        return self.finish(pipeline.pixels(torch.where(known == FREE, filled, known)))


@dataclass(frozen=True, slots=True)
class KnownMakers:
    """Makers whose pictures are finished with what is known."""

    makers: Makers
    known: Known

    def pixels(self, codes: Tensor) -> Tensor:
        """See Makers."""
        return self.known.finish(self.makers.pixels(codes))

    def text_features(self, prompt: Prompt) -> Tensor | None:
        """See Makers."""
        return self.makers.text_features(prompt)

    def scores(
        self, text: Tensor | None, pixels: Tensor, codes: Tensor | None = None
    ) -> list[float | None]:
        """See Makers."""
        return self.makers.scores(text, pixels, codes)

    def enhanced(self, codes: Tensor, rows: Sequence[RowParams]) -> Tensor:
        """See Makers."""
        return self.known.finish(self.makers.enhanced(codes, rows))


@torch.inference_mode()
def known_of(pipeline: Pipeline, levels: Tensor, hole: Tensor, kept: Kept) -> Known:
    """What is kept of a source.

    Args:
        pipeline: whose codes it gets.
        levels: the source in 8 bits, [3, H, W] uint8, of the size that the model makes.
        hole: [H, W] bool, where it is to be drawn anew.
        kept: how much of it is kept.

    Raises:
        NoGridError: not of this model.
    """
    device = pipeline.options.device
    pixels = levels.to(device).float() / 255
    codes = pipeline.stage1.encode(pixels[None])[0]  # [T, D]
    is_open = open_steps(pipeline, hole, kept).to(device)
    # A codec may have more codes than its prior draws: what can't be forced is drawn.
    is_strange = codes >= torch.tensor(pipeline.stage2.vocab_sizes, device=device)
    free = is_open[:, None] | is_strange
    forced = Forced.of(pipeline.stage2, codes.masked_fill(free, FREE))
    if not (kept.has_hole and kept.blend):
        return Known(forced, pixels, None)
    own = _spread((levels.to(device).float() + _HALF) / 255, hole.to(device))
    return Known(forced, own, _weight(hole).to(device))


def takes_pictures(preset: Preset) -> bool:
    """Whether pictures of this model can begin with another one."""
    try:
        _grid(*preset.size, preset.num_steps)
    except NoGridError:
        return False
    return True


def open_steps(pipeline: Pipeline, hole: Tensor, kept: Kept) -> Tensor:
    """Which steps are drawn, [T] bool."""
    num_steps, codec = pipeline.stage2.num_steps, pipeline.stage1
    order = codec.order.cpu() if isinstance(codec, Ordered) else torch.arange(num_steps)
    touched = _touched(hole, num_steps)[order]
    if kept.has_hole:
        return touched
    if kept.keep is not None:
        num_rows = _grid(hole.shape[1], hole.shape[0], num_steps)[0]
        return touched | (order >= round(kept.keep * num_rows) * num_steps // num_rows)
    numbers = uniforms(torch.tensor([kept.seed]), torch.tensor([_CELLS_STREAM]), num_steps)[0]
    chosen = numbers.argsort(stable=True)[: round((kept.strength or 0.0) * num_steps)]
    return touched.index_fill(0, chosen, True)


def _touched(hole: Tensor, num_steps: int) -> Tensor:
    """Steps [T] whose cell has a pixel of the hole [H, W]."""
    height, width = hole.shape
    rows, columns, channels = _grid(width, height, num_steps)
    cells = F.adaptive_max_pool2d(hole[None].float(), (rows, columns)).bool().flatten()
    return cells.repeat_interleave(channels)


def _grid(width: int, height: int, num_steps: int) -> tuple[int, int, int]:
    """Rows and columns of cells, from the top left, and the steps that make one cell.

    Cells are square; where there is no such grid of single steps, a cell has one for each channel.
    """
    for channels in (1, 3):
        area = width * height * channels // num_steps if num_steps % channels == 0 else 0
        side = isqrt(area)
        is_whole = side > 0 and height % side == 0 and width % side == 0
        if is_whole and (height // side) * (width // side) * channels == num_steps:
            return height // side, width // side, channels
    raise NoGridError(f"{num_steps} steps are no grid over {width}x{height} pixels")


def _spread(pixels: Tensor, hole: Tensor) -> Tensor:
    """Pixels [3, H, W] whose colours go on from a hole's edge into it, as far as the seam does.

    What stood in the hole has no part in it: a rim of it would show.
    """
    is_known = (~hole)[None].float()
    for _ in range(SEAM):
        share = F.avg_pool2d(is_known, 3, stride=1, padding=1)
        mean = F.avg_pool2d(pixels * is_known, 3, stride=1, padding=1) / share.clamp(min=1e-6)
        pixels = torch.where(is_known == 0, mean, pixels)
        is_known = torch.maximum(is_known, (share > 0).float())
    return pixels


def _weight(hole: Tensor) -> Tensor:
    """[H, W] float: 0 outside a hole, and inside up to 1 over the pixels of the seam.

    Over fewer where a hole is nowhere as deep nearby, so that the middle of a small one is drawn.
    """
    outside = (~hole)[None].float()
    depth = torch.zeros_like(outside)  # steps to the edge
    for _ in range(SEAM + 1):
        depth += 1 - outside
        outside = F.max_pool2d(outside, 3, stride=1, padding=1)
    deepest = F.max_pool2d(depth, 2 * _NEARBY + 1, stride=1, padding=_NEARBY)
    return (depth / deepest.clamp(min=1))[0]
