"""The gated, class-conditional PixelCNN (van den Oord et al. 2016), a `Prior` over levels.

A vertical stack sees whole lines above without a blind spot, a horizontal one its own line to the
left and the vertical one's line above. Module names are those of anordertoreclaim/PixelCNN. Drawing
is in `gated_pixel_cnn_cached`. Knows no files.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.pixels import GatedPixelCNNConfig
from models.stage2.channel_groups import as_pictures, every_group, scaled_levels
from models.stage2.gated_pixel_cnn_cached import GatedFeatures, GatedPrefix, GatedState
from models.stage2.gated_pixel_cnn_network import CausalBlock, GatedBlock
from models.stage2.masked_conv import MaskedConv
from models.stage2.prior import Draw


class GatedPixelCNN(nn.Module):
    """A `Prior` over the levels of pictures of some classes."""

    def __init__(self, config: GatedPixelCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.depth = channels = config.channels
        self.reaches = (config.num_steps - 1,)
        width, last = config.hidden_fmaps, config.out_hidden_fmaps
        self.causal_conv = CausalBlock(config)
        self.hidden_conv = nn.ModuleList(GatedBlock(config) for _ in range(config.hidden_layers))
        self.label_embedding = nn.Embedding(config.n_classes, width)
        self.out_hidden_conv = MaskedConv("B", (width, last), (1, 1), channels)
        num_out = config.color_levels * channels
        self.out_conv = MaskedConv("B", (last, num_out), (1, 1), channels)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.label_embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and features."""
        return self.label_embedding.weight.dtype

    @property
    def blocks(self) -> list[GatedBlock]:
        """Those behind the causal one."""
        return cast(list[GatedBlock], list(self.hidden_conv))

    def scaled(self, values: Tensor) -> Tensor:
        """Levels → 0..1, as this network sees them."""
        return scaled_levels(values, self.config.color_levels, self.dtype) / 2 + 0.5

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        """Pixels [B, C, H, W] in 0..1 and classes [B] → logits [B, C, H, W, levels]."""
        v, h = self.causal_conv(x)
        skip = self.label_embedding(classes)[..., None, None]
        for block in self.blocks:
            v, h, added = block(v, h, classes)
            skip = skip + added
        hidden = F.relu(self.out_hidden_conv(F.relu(skip.expand(-1, -1, *x.shape[-2:]))))
        out: Tensor = self.out_conv(hidden)
        levels = self.config.color_levels
        return torch.unflatten(out, 1, (levels, self.depth)).movedim(1, -1)

    def log_likelihood(self, values: Tensor, classes: Tensor | None = None) -> Tensor:
        """Of pictures' levels [B, C, H, W], in nats per sub-pixel [B, C, H, W].

        ValueError without the pictures' classes [B].
        """
        if classes is None:
            raise ValueError("a model of classes needs the pictures' classes")
        logits = self(self.scaled(values), classes)
        found: Tensor = logits.log_softmax(-1).gather(-1, values[..., None]).squeeze(-1)
        return found

    def prefill(self, ids: Tensor) -> GatedPrefix:
        """See Prior: what all pictures of a class begin with."""
        state = self.new_state(1)
        state.classes[:] = ids[:, 0]
        place = torch.zeros(1, dtype=torch.int64, device=self.device)
        return GatedPrefix(state, state.before(place))

    def new_state(self, num_rows: int) -> GatedState:
        """See Prior; with the weights as drawing reads them."""
        with torch.no_grad():
            top = self.label_embedding.weight
            head = (self.out_hidden_conv.grouped(self.depth), self.out_conv.grouped(self.depth))
            return GatedState(self.config, self.causal_conv, self.blocks, (top, *head), num_rows)

    def decode(self, codes: Tensor, places: Tensor, state: GatedState, reach: int) -> Tensor:
        """See Prior: [b, C] → sums over what lies before the next pixel [b, ...]."""
        state.see(self.scaled(codes), places)
        return state.before(places + 1)

    def sample(self, hidden: Tensor, state: GatedState, draw: Draw) -> Tensor:
        """See Prior: a channel after the other, each adding what it changes."""
        drawn = list[Tensor]()
        x = hidden.new_zeros(len(hidden), self.depth)
        features = GatedFeatures.zero(self.config, hidden)
        for group in every_group(self.depth):
            drawn.append(draw(state.network.at(x, hidden, features, group), group.number))
            x[:, group.number] = self.scaled(drawn[-1])
        return torch.stack(drawn, -1)

    def redraw(self, codes: Tensor, classes: Tensor | None, place: int, draw: Draw) -> Tensor:
        """The codes [B, C] of one step, with nothing remembered of those before it [B, T, C]."""
        codes = codes.clone()
        for channel in range(self.depth):
            x = self.scaled(as_pictures(codes, self.config.height))
            logits = self(x, classes)[:, channel].flatten(1, 2)[:, place]
            codes[:, place, channel] = draw(logits, channel)
        return codes[:, place]
