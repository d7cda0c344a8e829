"""How PixelCNN++ draws: each feature is computed once and kept for as long as something sees it.

The u stream depends on whole lines above and is computed a line at a time, when a line begins; the
ul stream a cell at a time. A coarser scale is computed where a pixel begins one of its cells. The
network itself is `pixel_cnn_pp_network`'s. Knows no sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.pixels import PixelCNNPPConfig
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
from models.stage2.pixel_cnn_pp_network import GatedResnet, PixelCNNPPNetwork, Scale
from models.stage2.shifted_conv import Nin, ShiftedConv, ShiftedDeconv, concat_elu

_LINES = 3  # a kernel sees two; the third is there while a finer scale is one line ahead

Matrix = tuple[Tensor, Tensor]  # weight and bias


class Block:
    """A gated block's matrices; of several inputs to `nin_skip`, each is both of its signs."""

    def __init__(self, block: GatedResnet, num_sides: int) -> None:
        self.first, self.second = block.conv_input.matrix(), block.conv_out.matrix()
        self.side = _by_input(block.nin_skip, num_sides) if block.nin_skip else None
        self.of_class = block.hw

    def at(self, x: Tensor, side: Tensor | None, maps: BlockMaps, cell: Cell) -> Tensor:
        """Features [..., F] of a site → the same, with what is inside the block remembered."""
        inner = F.linear(maps.input.window(cell.around), *self.first)
        if self.side is not None and side is not None:
            inner = inner + F.linear(side, *self.side)
        maps.middle.write(cell.at, concat_elu(inner, -1))
        gates = F.linear(maps.middle.window(cell.around), *self.second)
        if self.of_class is not None:
            gates = gates + self.of_class[cell.classes]
        value, gate = gates.chunk(2, -1)
        x = x + value * gate.sigmoid()
        maps.output.write(cell.at, concat_elu(x, -1))
        return x


@dataclass(frozen=True, slots=True)
class BlockMaps:
    """Both signs [2 F] of what goes into a block, stands in its middle, and comes out."""

    input: FeatureMap
    middle: FeatureMap
    output: FeatureMap


@dataclass(frozen=True, slots=True)
class Cell:
    """A site's own cells, what a kernel sees from them, and their rows' classes."""

    at: Tensor
    around: Tensor
    classes: Tensor


class ScaleMaps:
    """What is remembered of one scale's blocks on one way in one stream."""

    def __init__(self, grid: Grid, width: int, num_blocks: int, like: Tensor) -> None:
        both = 2 * width
        chain = [FeatureMap(grid, both, like) for _ in range(num_blocks + 1)]
        self.chain = chain  # what goes into each block, and what comes out of the last one
        middles = [FeatureMap(grid, both, like) for _ in range(num_blocks)]
        self.blocks = [BlockMaps(chain[i], m, chain[i + 1]) for i, m in enumerate(middles)]
        self.last = FeatureMap(grid, width, like)  # with its sign, for another scale
        self.all = [*chain, *middles, self.last]


class Stream:
    """One stream's matrices; `is_left`: the ul stream, which sees the cell to the left as well."""

    def __init__(self, network: PixelCNNPPNetwork, *, is_left: bool) -> None:
        name = "ul_stream" if is_left else "u_stream"
        device = network.device
        columns = range(-1, 1) if is_left else range(-1, 2)
        self.is_left = is_left
        self.kernel = kernel_cells(range(-1, 1), columns, device)
        self.from_coarse = kernel_cells(range(1), range(1 if is_left else 2), device)
        ups, downs = (cast(list[Scale], s) for s in (network.up_layers, network.down_layers))
        self.ups = [_blocks(getattr(scale, name), int(is_left)) for scale in ups]
        self.downs = [_blocks(getattr(scale, name), 1 + is_left) for scale in downs]
        sizing = (getattr(network, f"{way}size_{name}") for way in ("down", "up"))
        down, up = (cast(nn.ModuleList, layers) for layers in sizing)
        self.halving = [cast(ShiftedConv, layer).matrix() for layer in down]
        self.doubling = [_four(cast(ShiftedDeconv, layer)) for layer in up]


class StreamMaps:
    """What is remembered of one stream, by scale from the finest and on the way down reversed."""

    def __init__(self, config: PixelCNNPPConfig, grids: list[Grid], like: Tensor) -> None:
        width, count = config.nr_filters, config.nr_resnet
        self.ups = [ScaleMaps(grid, width, count, like) for grid in grids]
        self.downs = [
            ScaleMaps(grid, width, count + (number > 0), like)
            for number, grid in enumerate(reversed(grids))
        ]
        self.all = [feature for scale in (*self.ups, *self.downs) for feature in scale.all]


class PPState:
    """See `State`: the last lines of every map of rows in flight, and the rows' classes."""

    def __init__(self, config: PixelCNNPPConfig, network: CachedNetwork, num_rows: int) -> None:
        self.network = network
        self.width, self.num_rows = config.width, num_rows
        like, width = network.like, config.width
        self.grids = [Grid(num_rows, _LINES, width >> s, 1) for s in range(config.scales)]
        self.image = FeatureMap(self.grids[0], config.input_channels + 1, like)
        self.u, self.ul = (StreamMaps(config, self.grids, like) for _ in range(2))
        self.classes = torch.zeros(num_rows, dtype=torch.int64, device=like.device)
        self._all = [self.image, *self.u.all, *self.ul.all]

    def see(self, x: Tensor, places: Tensor) -> None:
        """Pixels [b, C] in -1..1 that were drawn at places [b]."""
        at = self.grids[0].at(cells(places, self.width))
        self.image.write(at, torch.cat((x, torch.ones_like(x[:, :1])), -1))

    def put(self, prefix: PPPrefix, rows: Tensor) -> None:
        put_all(self._all, prefix.state._all, rows)
        self.classes[rows] = prefix.state.classes

    def scramble(self, generator: torch.Generator) -> None:
        scramble_all((feature.data for feature in self._all), self.num_rows, generator)


@dataclass(frozen=True, slots=True)
class PPPrefix:
    """What every picture of a class begins with: one row's state, the first pixel's mixture."""

    state: PPState
    hidden: Tensor  # [1, 10 K]


class CachedNetwork:
    """The network's weights as drawing reads them, and the way through them."""

    def __init__(self, network: PixelCNNPPNetwork) -> None:
        config, device = network.config, network.device
        self.width, self.scales, self.like = config.width, config.scales, network.u_init.conv.bias
        above, left = (cast(ShiftedConv, conv).matrix() for conv in network.ul_init)
        self.first, self.above, self.left = network.u_init.matrix(), above, left
        self.seen_first = kernel_cells(range(-2, 0), range(-1, 2), device)
        self.seen_above = kernel_cells(range(-1, 0), range(-1, 2), device)
        self.seen_left = kernel_cells(range(-1, 1), range(-1, 0), device)
        self.u = Stream(network, is_left=False)
        self.ul = Stream(network, is_left=True)
        self.out = network.nin_out.matrix()

    def at(self, places: Tensor, state: PPState) -> Tensor:
        """The head's numbers [b, 10 K] for pixels at places [b], all before them being seen."""
        for rows in beginning_lines(places, self.width):
            lines = places[rows] // self.width
            site = whole_lines(rows, lines, self.width)
            self._through(self.u, self._first_line(site, state), site, state)
        site = cells(places, self.width)
        ul = self._through(self.ul, self._first_cell(site, state), site, state)
        return F.linear(F.elu(ul), *self.out)

    def _first_line(self, site: Site, state: PPState) -> Tensor:
        seen = state.image.window(state.grids[0].around(site, self.seen_first))
        return F.linear(seen, *self.first) * (site.line > 0)[..., None]

    def _first_cell(self, site: Site, state: PPState) -> Tensor:
        grid, image = state.grids[0], state.image
        above = F.linear(image.window(grid.around(site, self.seen_above)), *self.above)
        left = F.linear(image.window(grid.around(site, self.seen_left)), *self.left)
        return above * (site.line > 0)[:, None] + left * (site.column > 0)[:, None]

    def _through(self, stream: Stream, x: Tensor, finest: Site, state: PPState) -> Tensor:
        """First features [..., F] of a site → the last ones, over as many scales as it begins."""
        sites, last = [finest], self.scales - 1
        for _ in range(self._num_scales(stream, finest) - 1):
            sites.append(_coarser(sites[-1], stream.is_left))
        ways = [_cell(stream, site, state, s) for s, site in enumerate(sites)]
        for scale, cell in enumerate(ways):
            if scale:
                x = self._halved(stream, sites[scale], state, scale)
            x = _up(stream, x, cell, state, scale)
        for scale in range(len(sites) - 1, -1, -1):
            if scale < last:
                x = self._doubled(stream, sites[scale], state, scale)
            x = _down(stream, x, ways[scale], state, last - scale)
        return x

    def _num_scales(self, stream: Stream, site: Site) -> int:
        """Of how many scales the sites begin a cell (a line): what others compute is theirs."""
        if site.row.device.type != "cpu":
            return self.scales
        together = site.line | site.column if stream.is_left else site.line
        begun = [(at & -at).bit_length() or self.scales for at in together.flatten().tolist()]
        return min(max(begun), self.scales)

    def _halved(self, stream: Stream, site: Site, state: PPState, scale: int) -> Tensor:
        doubled = Site(site.row, 2 * site.line, 2 * site.column)
        around = state.grids[scale - 1].around(doubled, stream.kernel)
        finer = _maps(stream, state).ups[scale - 1].last
        return F.linear(finer.window(around), *stream.halving[scale - 1])

    def _doubled(self, stream: Stream, site: Site, state: PPState, scale: int) -> Tensor:
        number = self.scales - 2 - scale  # of the coarser scale on the way down
        coarser = _maps(stream, state).downs[number].last
        around = state.grids[scale + 1].around(site.halved(), stream.from_coarse)
        four = torch.unflatten(
            F.linear(coarser.window(around), *stream.doubling[number]), -1, (4, -1)
        )
        parity = site.line % 2 * 2 + site.column % 2
        chosen = parity[..., None, None].expand(*four.shape[:-2], 1, four.shape[-1])
        return four.gather(-2, chosen).squeeze(-2)


def _maps(stream: Stream, state: PPState) -> StreamMaps:
    return state.ul if stream.is_left else state.u


def _cell(stream: Stream, site: Site, state: PPState, scale: int) -> Cell:
    grid = state.grids[scale]
    return Cell(grid.at(site), grid.around(site, stream.kernel), state.classes[site.row])


def _coarser(site: Site, is_left: bool) -> Site:
    if is_left:
        return site.halved()
    return Site(site.row, site.line // 2, site.column[:, : site.column.shape[1] // 2])


def _up(stream: Stream, x: Tensor, cell: Cell, state: PPState, scale: int) -> Tensor:
    maps = _maps(stream, state).ups[scale]
    maps.chain[0].write(cell.at, concat_elu(x, -1))
    for number, block in enumerate(stream.ups[scale]):
        above = state.u.ups[scale].chain[number + 1].read(cell.at) if stream.is_left else None
        x = block.at(x, above, maps.blocks[number], cell)
    maps.last.write(cell.at, x)
    return x


def _down(stream: Stream, x: Tensor, cell: Cell, state: PPState, way: int) -> Tensor:
    scale = len(state.grids) - 1 - way
    maps, kept = _maps(stream, state).downs[way], _maps(stream, state).ups[scale].chain
    maps.chain[0].write(cell.at, concat_elu(x, -1))
    last = len(kept) - 1 - (way == 0)  # the coarsest scale's last is what the way down begins with
    for number, block in enumerate(stream.downs[way]):
        side = kept[last - number].read(cell.at)
        if stream.is_left:
            above = state.u.downs[way].chain[number + 1].read(cell.at)
            side = torch.cat((above, side), -1)
        x = block.at(x, side, maps.blocks[number], cell)
    maps.last.write(cell.at, x)
    return x


def _blocks(layers: nn.ModuleList, num_sides: int) -> list[Block]:
    return [Block(cast(GatedResnet, layer), num_sides) for layer in layers]


def _by_input(nin: Nin, num_inputs: int) -> Matrix:
    """Its matrix over inputs that bring both their signs along, not first all of one sign."""
    weight, bias = nin.matrix()
    parts = torch.unflatten(weight, 1, (2, num_inputs, -1))
    return parts.transpose(1, 2).flatten(1), bias


def _four(layer: ShiftedDeconv) -> Matrix:
    """Its four matrices [4 C', k * C] one below the other, and the bias four times."""
    weight, bias = layer.matrices()
    return weight.flatten(0, 2), bias.repeat(4)
