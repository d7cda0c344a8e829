"""PixelCNN (van den Oord et al. 2016, "Pixel recurrent neural networks"), a `Prior` over levels.

One stack of masked convolutions. A step is a pixel; its channels are drawn one after the other,
each by the features of its own group. What lies before a pixel is summed up once, when it becomes
known (`before`), and each channel adds what it changes. Module names are those of pixelcnn_flow.
Knows no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.pixels import PixelCNNConfig
from models.stage2.channel_groups import Group, Grouped, as_pictures, every_group, scaled_levels
from models.stage2.feature_map import FeatureMap, Grid, cells, put_all, scramble_all
from models.stage2.masked_conv import MaskedConv, cells_before
from models.stage2.prior import Draw


class ResidualBlock(nn.Module):
    """Narrow in the middle, where its kernel is wider than a cell."""

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__()
        narrow, channels, k = config.filters, config.channels, config.kernel_size
        self.conv1 = MaskedConv("B", (2 * narrow, narrow), (1, 1), channels)
        self.conv2 = MaskedConv("B", (narrow, narrow), (k, k), channels)
        self.conv3 = MaskedConv("B", (narrow, 2 * narrow), (1, 1), channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 2 h, H, W] → the same."""
        inner = F.relu(self.conv2(F.relu(self.conv1(F.relu(x)))))
        out: Tensor = x + self.conv3(inner)
        return out


class PixelCNN(nn.Sequential):
    """A `Prior`; entry 0 of the sequence scales levels, entries behind the blocks alternate."""

    def __init__(self, config: PixelCNNConfig) -> None:
        channels, wide, k = config.channels, 2 * config.filters, config.kernel_size_in
        num_out = config.levels * channels
        super().__init__(
            nn.Identity(),
            MaskedConv("A", (channels, wide), (k, k), channels),
            *(ResidualBlock(config) for _ in range(config.num_blocks)),
            nn.ReLU(),
            MaskedConv("B", (wide, config.output_filters), (1, 1), channels),
            nn.ReLU(),
            MaskedConv("B", (config.output_filters, num_out), (1, 1), channels),
        )
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.depth = channels
        self.reaches = (config.num_steps - 1,)

    @property
    def first(self) -> MaskedConv:
        """The only convolution of type A."""
        return cast(MaskedConv, self[1])

    @property
    def blocks(self) -> list[ResidualBlock]:
        """Those between the first convolution and the head."""
        return cast(list[ResidualBlock], list(self)[2 : 2 + self.config.num_blocks])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.first.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and features."""
        return self.first.weight.dtype

    def logits(self, x: Tensor) -> Tensor:
        """Pixels [B, C, H, W] in -1..1 → [B, C, H, W, levels]."""
        out: Tensor = self(x)
        shape = (self.config.levels, self.config.channels)
        return torch.unflatten(out, 1, shape).movedim(1, -1)

    def log_likelihood(self, values: Tensor, _classes: Tensor | None = None) -> Tensor:
        """Of pictures' levels [B, C, H, W], in nats per sub-pixel [B, C, H, W]."""
        logits = self.logits(scaled_levels(values, self.config.levels, self.dtype))
        return logits.log_softmax(-1).gather(-1, values[..., None]).squeeze(-1)

    def prefill(self, _ids: Tensor) -> PixelCNNPrefix:
        """See Prior: what every picture begins with."""
        state = self.new_state(1)
        hidden = state.before(torch.zeros(1, dtype=torch.int64, device=self.device))
        return PixelCNNPrefix(state, hidden)

    def new_state(self, num_rows: int) -> PixelCNNState:
        """See Prior; with the weights as drawing reads them."""
        with torch.no_grad():
            return PixelCNNState(self, num_rows)

    def decode(self, codes: Tensor, places: Tensor, state: PixelCNNState, reach: int) -> Tensor:
        """See Prior: [b, C] → sums over what lies before the next pixel [b, ...]."""
        x = scaled_levels(codes, self.config.levels, self.dtype)
        state.see(x, places)
        return state.before(places + 1)

    def sample(self, hidden: Tensor, state: PixelCNNState, draw: Draw) -> Tensor:
        """See Prior: a channel after the other, each adding what it changes."""
        levels, drawn = self.config.levels, list[Tensor]()
        x = hidden.new_zeros(len(hidden), self.depth)
        features = PixelFeatures.zero(self.config, hidden)
        for group in every_group(self.depth):
            logits = state.network.at(x, hidden, features, group)
            drawn.append(draw(logits, group.number))
            x[:, group.number] = scaled_levels(drawn[-1], levels, self.dtype)
        return torch.stack(drawn, -1)

    def redraw(self, codes: Tensor, _classes: Tensor | None, place: int, draw: Draw) -> Tensor:
        """The codes [B, C] of one step, with nothing remembered of those before it [B, T, C]."""
        codes, (height, levels) = codes.clone(), (self.config.height, self.config.levels)
        for channel in range(self.depth):
            x = scaled_levels(as_pictures(codes, height), levels, self.dtype)
            logits = self.logits(x)[:, channel].flatten(1, 2)[:, place]
            codes[:, place, channel] = draw(logits, channel)
        return codes[:, place]


class PixelNetwork:
    """The weights as drawing reads them, and what one pixel's own channels change."""

    def __init__(self, model: PixelCNN) -> None:
        first, *middles = (
            layer.matrices() for layer in (model.first, *(block.conv2 for block in model.blocks))
        )
        self.kernels = [first[0], *(middle[0] for middle in middles)]
        self.biases = [first[2], *(middle[2] for middle in middles)]
        channels = model.config.channels
        self.first = Grouped(first[1], None, channels)
        self.blocks = [
            (
                block.conv1.grouped(channels),
                Grouped(middle[1], None, channels),
                block.conv3.grouped(channels),
            )
            for block, middle in zip(model.blocks, middles, strict=True)
        ]
        last = cast(list[MaskedConv], [model[-3], model[-1]])
        self.head = [layer.grouped(channels) for layer in last]
        self.sizes = [len(bias) for bias in self.biases]
        self.levels, self.channels = model.config.levels, model.config.channels

    def at(self, x: Tensor, before: Tensor, features: PixelFeatures, group: Group) -> Tensor:
        """Logits [b, levels] of a channel, given those before it of pixels [b, C].

        `features` are filled group by group.
        """
        sums, part = before.split_with_sizes(self.sizes, -1), group.part
        wide, inside, middle = features.wide, features.inside, features.middle
        wide[0][:, part] = self.first.of(x, group) + sums[0][:, part]
        for number, (narrow, own, widen) in enumerate(self.blocks):
            inside[number][:, part] = narrow.of(F.relu(wide[number]), group).relu()
            known = sums[number + 1][:, part]
            middle[number][:, part] = F.relu(own.of(inside[number], group) + known)
            added = widen.of(middle[number], group)
            wide[number + 1][:, part] = wide[number][:, part] + added
        features.head[:, part] = self.head[0].of(F.relu(wide[-1]), group).relu()
        return self.head[1].of(features.head, group)


@dataclass(frozen=True, slots=True)
class PixelFeatures:
    """What runs between the blocks, what their kernels see and make, and the head's, [b, ...]."""

    wide: list[Tensor]
    inside: list[Tensor]
    middle: list[Tensor]
    head: Tensor

    @classmethod
    def zero(cls, config: PixelCNNConfig, like: Tensor) -> PixelFeatures:
        """Of as many pixels as `like` has rows; nothing is computed yet."""

        def of(width: int, count: int) -> list[Tensor]:
            return [like.new_zeros(len(like), width) for _ in range(count)]

        count, narrow = config.num_blocks, config.filters
        wide, (head,) = of(2 * narrow, count + 1), of(config.output_filters, 1)
        return cls(wide, of(narrow, count), of(narrow, count), head)


@dataclass(frozen=True, slots=True)
class PixelCNNPrefix:
    """What every picture begins with."""

    state: PixelCNNState
    hidden: Tensor  # [1, ...], sums over nothing but borders


class PixelCNNState:
    """See `State`: the lines that kernels see, of the picture and inside each block."""

    def __init__(self, model: PixelCNN, num_rows: int) -> None:
        config = model.config
        self.config, self.network = config, PixelNetwork(model)
        self.width, self.num_rows = config.width, num_rows
        kernels = [config.kernel_size_in, *[config.kernel_size] * config.num_blocks]
        self.grids = [Grid(num_rows, k // 2 + 1, config.width, k // 2) for k in kernels]
        self.kernels = [cells_before((k, k), model.device) for k in kernels]
        channels = [config.channels, *[config.filters] * config.num_blocks]
        pairs = zip(self.grids, channels, strict=True)
        self.maps = [FeatureMap(grid, size, model.first.weight) for grid, size in pairs]
        # Sums before a pixel, by the parity of its place: a step reads one and writes the other.
        self.sums = model.first.weight.new_zeros(num_rows, 2, sum(self.network.sizes))

    def see(self, x: Tensor, places: Tensor) -> None:
        """Compute the features of pixels [b, C] in -1..1 that were drawn at places [b]."""
        site, features = cells(places, self.width), PixelFeatures.zero(self.config, x)
        known = self.sums[site.row, places % 2]
        for group in every_group(x.shape[-1]):
            self.network.at(x, known, features, group)
        seen = [x, *features.inside]
        for feature, grid, kept in zip(seen, self.grids, self.maps, strict=True):
            kept.write(grid.at(site), feature)

    def before(self, places: Tensor) -> Tensor:
        """Sums over what lies before pixels at places [b], of all kernels side by side."""
        site, network = cells(places, self.width), self.network
        seen = []
        for number, kept in enumerate(self.maps):
            around = self.grids[number].around(site, self.kernels[number])
            kernel, bias = network.kernels[number], network.biases[number]
            seen.append(F.linear(kept.window(around), kernel, bias))
        sums = torch.cat(seen, -1)
        self.sums[site.row, places % 2] = sums
        return sums

    def put(self, prefix: PixelCNNPrefix, rows: Tensor) -> None:
        put_all(self.maps, prefix.state.maps, rows)
        self.sums[rows] = prefix.state.sums

    def scramble(self, generator: torch.Generator) -> None:
        tensors = [*(kept.data for kept in self.maps), self.sums]
        scramble_all(tensors, self.num_rows, generator)
