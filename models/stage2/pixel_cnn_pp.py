"""PixelCNN++ as a `Prior`: pictures drawn pixel by pixel, only what a new pixel changes computed.

The network over whole pictures is `pixel_cnn_pp_network`'s, what is remembered of rows in flight is
in `pixel_cnn_pp_cached`. A step is a pixel and its depths are its channels. Knows no files.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.configs.pixels import PixelCNNPPConfig
from models.stage2.channel_groups import as_pictures
from models.stage2.dmol import draw_pixel, mixture_of, scaled
from models.stage2.pixel_cnn_pp_cached import CachedNetwork, PPPrefix, PPState
from models.stage2.pixel_cnn_pp_network import PixelCNNPPNetwork
from models.stage2.prior import Draw


class PixelCNNPP(PixelCNNPPNetwork):
    """A `Prior` over the bytes of pictures."""

    def __init__(self, config: PixelCNNPPConfig) -> None:
        super().__init__(config)
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.depth = len(config.vocab_sizes)
        self.reaches = (config.num_steps - 1,)

    @property
    def fullest(self) -> int:
        """See Uneven: the pixel behind it begins a cell of every scale, that of few does."""
        coarsest = 1 << (self.config.scales - 1)
        return coarsest * self.config.width + coarsest - 1

    def prefill(self, ids: Tensor) -> PPPrefix:
        """See Prior: what all pictures of a class begin with."""
        state = self.new_state(1)
        state.classes[:] = ids[:, 0]
        return PPPrefix(state, state.network.at(torch.zeros(1, dtype=torch.int64).to(ids), state))

    def new_state(self, num_rows: int) -> PPState:
        """See Prior; with the weights as drawing reads them."""
        with torch.no_grad():
            return PPState(self.config, CachedNetwork(self), num_rows)

    def decode(self, codes: Tensor, places: Tensor, state: PPState, reach: int) -> Tensor:
        """See Prior: [b, C] → the head's numbers [b, 10 K] for the next pixel."""
        state.see(scaled(codes, self.dtype), places)
        return state.network.at(places + 1, state)

    def sample(self, hidden: Tensor, state: PPState, draw: Draw) -> Tensor:
        """See Prior: [b, 10 K] → [b, C], each channel of 256 exact probabilities."""
        return draw_pixel(mixture_of(hidden, self.depth), draw)

    def redraw(self, codes: Tensor, classes: Tensor | None, place: int, draw: Draw) -> Tensor:
        """The codes [B, C] of one step, with nothing remembered of those before it [B, T, C]."""
        x = scaled(as_pictures(codes, self.config.height), self.dtype)
        params = self(x, classes).flatten(2)[:, :, place]
        return draw_pixel(mixture_of(params, self.depth), draw)
