"""How the gated PixelCNN draws: each feature is computed once and kept while something sees it.

The vertical stack is computed a line at a time, when the next one begins; the horizontal one a
pixel at a time, of which each channel adds what it changes. The blocks over whole pictures are
`gated_pixel_cnn_network`'s. Knows no sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.pixels import GatedPixelCNNConfig
from models.stage2.channel_groups import Group, Grouped, every_group
from models.stage2.feature_map import (
    FeatureMap,
    Grid,
    Site,
    beginning_lines,
    cells,
    kernel_cells,
    put_all,
    scramble_all,
    whole_lines,
)
from models.stage2.gated_pixel_cnn_network import CausalBlock, GatedBlock, gate
from models.stage2.masked_conv import cells_before

Matrix = tuple[Tensor, Tensor]  # weight and bias
Head = tuple[Tensor, Grouped, Grouped]  # embedding of the classes, both products


class Vertical:
    """A block's matrices of the vertical stack."""

    def __init__(self, block: CausalBlock | GatedBlock) -> None:
        self.kernel, self.own = block.v_conv.matrix(), _plain(block.v_fc)
        self.of_class = block.label_embedding.weight if isinstance(block, GatedBlock) else None

    def at(self, kept: FeatureMap, around: Tensor, own: Tensor, classes: Tensor) -> Tensor:
        """Both halves [..., 2 F] of a line, from the input that is kept."""
        sums = F.linear(kept.window(around), *self.kernel) + F.linear(kept.read(own), *self.own)
        return sums if self.of_class is None else sums + self.of_class[classes]


class Horizontal:
    """A block's matrices of the horizontal stack."""

    def __init__(self, block: CausalBlock | GatedBlock, channels: int) -> None:
        before, own, bias = block.h_conv.matrices()
        self.before: Matrix = before, bias
        self.num_out, self.own = len(own), Grouped(own, None, channels)
        self.out = block.h_fc.grouped(channels)
        self.skip: Grouped | None = None
        self.of_class: Tensor | None = None
        if isinstance(block, GatedBlock):
            self.from_above = block.v_to_h.matrices()[1:]
            self.skip = block.h_skip.grouped(channels)
            self.of_class = block.label_embedding.weight
        else:
            self.from_above = _plain(block.v_to_h)


class PixelNetwork:
    """What one pixel's own channels change, given the sums over what lies before it."""

    def __init__(self, blocks: Sequence[Horizontal], head: Head) -> None:
        self.blocks, self.head = blocks, head
        self.sizes = [*(block.num_out for block in blocks), head[0].shape[1]]

    def at(self, x: Tensor, before: Tensor, features: GatedFeatures, group: Group) -> Tensor:
        """Logits [b, levels] of a channel, given those before it of pixels [b, C]."""
        *sums, skip = before.split_with_sizes(self.sizes, -1)
        part, seen = group.part, x
        added = skip[:, part]
        for number, block in enumerate(self.blocks):
            gates = block.own.of(seen, group) + sums[number][:, part]
            gated, h = features.gated[number], features.horizontal[number]
            gated[:, part] = gate(gates, -1)
            out = block.out.of(gated, group)
            h[:, part] = out if number == 0 else out + seen[:, part]
            if block.skip is not None:
                added = added + block.skip.of(gated, group)
            seen = h
        features.skip[:, part] = added.relu()
        features.head[:, part] = self.head[1].of(features.skip, group).relu()
        return self.head[2].of(features.head, group)


@dataclass(frozen=True, slots=True)
class GatedFeatures:
    """Of one pixel per row: behind each block's gate and behind the block, and the head's."""

    gated: list[Tensor]
    horizontal: list[Tensor]
    skip: Tensor
    head: Tensor

    @classmethod
    def zero(cls, config: GatedPixelCNNConfig, like: Tensor) -> GatedFeatures:
        """Of as many pixels as `like` has rows; nothing is computed yet."""
        width, count = config.hidden_fmaps, config.hidden_layers + 1
        wide = [like.new_zeros(len(like), width) for _ in range(2 * count + 1)]
        head = like.new_zeros(len(like), config.out_hidden_fmaps)
        return cls(wide[:count], wide[count:-1], wide[-1], head)


@dataclass(frozen=True, slots=True)
class GatedPrefix:
    """What every picture of a class begins with."""

    state: GatedState
    hidden: Tensor  # [1, ...], sums over nothing but borders


class GatedState:
    """See `State`: lines of the picture and of both stacks, and the rows' classes."""

    def __init__(
        self,
        config: GatedPixelCNNConfig,
        causal: CausalBlock,
        gated: Sequence[GatedBlock],
        head: Head,
        num_rows: int,
    ) -> None:
        like, width = head[0], config.hidden_fmaps
        blocks: list[CausalBlock | GatedBlock] = [causal, *gated]
        self.config, self.width, self.num_rows = config, config.width, num_rows
        self.vertical = [Vertical(block) for block in blocks]
        self.horizontal = [Horizontal(block, config.channels) for block in blocks]
        self.network = PixelNetwork(self.horizontal, head)
        sides = [config.causal_ksize, *[config.hidden_ksize] * len(gated)]
        radii = [side // 2 for side in sides]
        # The line that is being drawn has a place of its own: those above are still looked at.
        self.grids = [Grid(num_rows, r + 2, config.width, r) for r in radii]
        self.line = Grid(num_rows, 1, config.width, config.hidden_ksize // 2)
        channels = [config.channels, *[width] * len(gated)]
        self.seen = [FeatureMap(g, c, like) for g, c in zip(self.grids, channels, strict=True)]
        self.above = [FeatureMap(self.line, 2 * width, like) for _ in blocks]
        self.left = [FeatureMap(self.line, width, like) for _ in gated]
        self.kernels = [kernel_cells(range(-r, 1), range(-r, r + 1), like.device) for r in radii]
        self.before_kernels = [cells_before((1, side), like.device) for side in sides]
        self.sums = like.new_zeros(num_rows, 2, sum(self.network.sizes))
        self.classes = torch.zeros(num_rows, dtype=torch.int64, device=like.device)
        self._maps = [*self.seen, *self.above, *self.left]

    def see(self, x: Tensor, places: Tensor) -> None:
        """Compute the features of pixels [b, C] in 0..1 that were drawn at places [b]."""
        site, features = cells(places, self.width), GatedFeatures.zero(self.config, x)
        known = self.sums[site.row, places % 2]
        for group in every_group(x.shape[-1]):
            self.network.at(x, known, features, group)
        self.seen[0].write(self.grids[0].at(site), x)
        for feature, kept in zip(features.horizontal, self.left, strict=False):
            kept.write(self.line.at(site), feature)

    def before(self, places: Tensor) -> Tensor:
        """Sums over what lies before pixels at places [b], of all blocks side by side."""
        for rows in beginning_lines(places, self.width):
            self._see_line(rows, places[rows] // self.width)
        site, seen = cells(places, self.width), list[Tensor]()
        classes = self.classes[site.row]
        grids = [self.grids[0], *[self.line] * len(self.left)]
        for number, kept in enumerate([self.seen[0], *self.left]):
            block = self.horizontal[number]
            around = grids[number].around(site, self.before_kernels[number])
            above = F.linear(self.above[number].read(self.line.at(site)), *block.from_above)
            sums = F.linear(kept.window(around), *block.before) + above
            seen.append(sums if block.of_class is None else sums + block.of_class[classes])
        together = torch.cat([*seen, self.network.head[0][classes]], -1)
        self.sums[site.row, places % 2] = together
        return together

    def _see_line(self, rows: Tensor, lines: Tensor) -> None:
        """Compute the vertical stack of the line above `lines`, where there is one."""
        site = whole_lines(rows, lines - 1, self.width)
        is_there = (site.line >= 0)[..., None]
        classes, at = self.classes[site.row], self.line.at(Site(site.row, site.line, site.column))
        v: Tensor | None = None
        for number, block in enumerate(self.vertical):
            grid, kept = self.grids[number], self.seen[number]
            if v is not None:
                kept.write(grid.at(site), v * is_there)
            sums = block.at(kept, grid.around(site, self.kernels[number]), grid.at(site), classes)
            self.above[number].write(at, torch.where(is_there, sums, block.kernel[1]))
            v = gate(sums, -1) if v is None else gate(sums, -1) + v

    def put(self, prefix: GatedPrefix, rows: Tensor) -> None:
        put_all(self._maps, prefix.state._maps, rows)
        self.sums[rows] = prefix.state.sums
        self.classes[rows] = prefix.state.classes

    def scramble(self, generator: torch.Generator) -> None:
        tensors = [*(kept.data for kept in self._maps), self.sums]
        scramble_all(tensors, self.num_rows, generator)


def _plain(conv: nn.Conv2d) -> Matrix:
    """Weight [C', C] and bias of a convolution over a cell alone."""
    assert conv.bias is not None
    return conv.weight.flatten(1), conv.bias
