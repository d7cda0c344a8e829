"""The Image Transformer (Parmar et al. 2018), a `Prior` over bytes: attention in blocks.

Its sequence is channels, each of 256 logits, or pixels, each a mixture of logistics; shifted by
one, so that a position predicts itself. Module names are those of
sahajgarg/image_transformer, plus a table of classes as tensor2tensor adds it. Knows no files; who
sees whom is in `local_attention`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.pixels import ImageTransformerConfig, mixture_width
from models.configs.raw_pixels import NUM_BYTES
from models.stage2.blocks import attend_one
from models.stage2.dmol import draw_pixel, log_likelihood, mixture_of, scaled
from models.stage2.local_attention import AttentionPlan
from models.stage2.local_cache import LocalCache, LocalPrefix, LocalStep, Tables
from models.stage2.prior import Draw

_EPS = 1e-6  # of the layer norms


class LocalAttention(nn.Module):
    """Multi-head attention whose keys and values may be wider or narrower than its input."""

    def __init__(self, config: ImageTransformerConfig) -> None:
        super().__init__()
        width, keys, values = config.hidden_size, config.key_depth, config.value_depth
        self.num_heads = config.num_heads
        self.q_dense = nn.Linear(width, keys, bias=False)
        self.k_dense = nn.Linear(width, keys, bias=False)
        self.v_dense = nn.Linear(width, values, bias=False)
        self.output_dense = nn.Linear(values, width, bias=False)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [..., H, dim] of [..., E]."""
        layers = (self.q_dense, self.k_dense, self.v_dense)
        q, k, v = (layer(x).unflatten(-1, (self.num_heads, -1)) for layer in layers)
        return q, k, v

    def forward(self, x: Tensor, plan: AttentionPlan) -> Tensor:
        """Whole sequences [B, T, E] in drawing order → the same."""
        q, k, v = (part.transpose(1, 2) for part in self.projected(x))  # [B, H, T, dim]
        attended = F.scaled_dot_product_attention(
            q[:, :, plan.queries], k[:, :, plan.keys], v[:, :, plan.keys], attn_mask=plan.is_seen
        )  # [B, H, N, Q, dim]
        out: Tensor = self.output_dense(
            attended[:, :, plan.block, plan.offset].transpose(1, 2).flatten(2)
        )
        return out


class Layer(nn.Module):
    """Attention and MLP, each normalised behind its residual."""

    def __init__(self, config: ImageTransformerConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.filter_size
        self.attn = LocalAttention(config)
        self.layernorm_attn = nn.LayerNorm(width, eps=_EPS)
        self.layernorm_ffn = nn.LayerNorm(width, eps=_EPS)
        self.ffn = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, plan: AttentionPlan) -> Tensor:
        """[B, T, E] → the same."""
        return self.after(x, self.dropout(self.attn(x, plan)))

    def decode(self, x: Tensor, state: LocalCache, layer: int, step: LocalStep) -> Tensor:
        """One position per row [b, E] → the same, with it remembered."""
        q, k, v = self.attn.projected(x)
        keys, values = state.seen(layer, k, v, step)
        return self.after(
            x, self.attn.output_dense(attend_one(q, keys, values, step.mask).flatten(1))
        )

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        """What comes out, [..., E], of a layer's input and of its attention."""
        x = self.layernorm_attn(x + attended)
        out: Tensor = self.layernorm_ffn(x + self.dropout(self.ffn(x)))
        return out


class ImageTransformer(nn.Module):
    """A `Prior` over the bytes of pictures."""

    def __init__(self, config: ImageTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.depth = len(config.vocab_sizes)
        self.reaches = (config.num_steps - 1,)
        width = config.hidden_size
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.nlayers))
        self.is_mixture = config.distr == "mixture"
        if self.is_mixture:
            self.embedding_conv = nn.Conv2d(1, width, (1, config.channels))
            num_out = mixture_width(config.channels, config.num_mixtures)
            self.output_dense = nn.Linear(width, num_out, bias=False)
        else:
            self.embeds = nn.Embedding(NUM_BYTES * config.channels, width)
            self.output_dense = nn.Linear(width, NUM_BYTES)
        if config.n_classes:
            self.label_embedding = nn.Embedding(config.n_classes, width)
        self.dropout = nn.Dropout(config.dropout)
        with torch.device("cpu"):  # what follows from the shape is no weight and never on `meta`
            self._tables = Tables.of(config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return cast(Layer, self.layers[0]).layernorm_attn.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and features."""
        return cast(Layer, self.layers[0]).layernorm_attn.weight.dtype

    @property
    def tables(self) -> Tables:
        """What follows from the shape, on the weights' device."""
        self._tables = self._tables.on(self.device, self.dtype)
        return self._tables

    def embedded(self, codes: Tensor, places: Tensor) -> Tensor:
        """Codes [..., D] of positions [...] → [..., E]."""
        if self.is_mixture:
            kernel, bias = self.embedding_conv.weight.flatten(1), self.embedding_conv.bias
            return F.linear(scaled(codes, self.dtype), kernel, bias).relu()
        channel = self.tables.channel[places]
        found: Tensor = self.embeds(codes[..., 0] + NUM_BYTES * channel)
        return found * math.sqrt(self.config.hidden_size)

    def features(self, codes: Tensor, classes: Tensor | None = None) -> Tensor:
        """Codes [B, T, D] in drawing order and classes [B] → [B, T, E], each position's own."""
        tables = self.tables
        fed = self.embedded(codes[:, :-1], torch.arange(self.num_steps - 1, device=codes.device))
        fed = fed * tables.plan.is_fed[1:, None]
        x = torch.cat((torch.zeros_like(fed[:, :1]), fed), 1) + tables.signal
        if classes is not None and self.config.n_classes:
            x = x + self.label_embedding(classes)[:, None]
        out: Tensor = self.dropout(x)
        for layer in self._layers():
            out = layer(out, tables.plan)
        return out

    def forward(self, values: Tensor, classes: Tensor | None = None) -> Tensor:
        """Bytes [B, C, H, W] → the head's numbers in raster order.

        Logits [B, C, H, W, 256], or of a mixture [B, H, W, 10 K].
        """
        config = self.config
        found = self.output_dense(self.features(self.codes(values), classes))
        raster = torch.empty_like(found)
        raster[:, self.tables.order] = found
        if self.is_mixture:
            return torch.unflatten(raster, 1, config.grid)
        shape = (config.height, config.width, config.channels)
        return torch.unflatten(raster, 1, shape).movedim(3, 1)

    def codes(self, values: Tensor) -> Tensor:
        """Bytes [B, C, H, W] → [B, T, D] in drawing order."""
        return values.permute(0, 2, 3, 1).reshape(len(values), self.num_steps, -1)[
            :, self.tables.order
        ]

    def log_likelihood(self, values: Tensor, classes: Tensor | None = None) -> Tensor:
        """Of bytes [B, C, H, W], in nats: per pixel [B, H, W], categorical per sub-pixel."""
        found = self(values, classes)
        if self.is_mixture:
            mixture = mixture_of(found, self.config.channels, self.config.mixture_layout)
            return log_likelihood(mixture, scaled(values, self.dtype).permute(0, 2, 3, 1))
        out: Tensor = found.log_softmax(-1).gather(-1, values[..., None]).squeeze(-1)
        return out

    def prefill(self, ids: Tensor) -> LocalPrefix:
        """See Prior: the first position, which is fed nothing."""
        state = self.new_state(1)
        state.classes[:] = ids[:, 0]
        first = torch.zeros(1, dtype=torch.int64, device=self.device)
        nothing = torch.zeros(1, self.config.hidden_size, device=self.device, dtype=self.dtype)
        return LocalPrefix(state, self._at(nothing, first, state))

    def new_state(self, num_rows: int) -> LocalCache:
        """See Prior."""
        return LocalCache(self.config, self.tables, num_rows)

    def decode(self, codes: Tensor, places: Tensor, state: LocalCache, reach: int) -> Tensor:
        """See Prior: [b, D] → [b, E]."""
        fed = self.embedded(codes, places) * state.tables.plan.is_fed[places + 1, None]
        return self._at(fed, places + 1, state)

    def _at(self, fed: Tensor, positions: Tensor, state: LocalCache) -> Tensor:
        step, x = state.step(positions), fed + state.tables.signal[positions]
        if self.config.n_classes:
            x = x + self.label_embedding(state.classes[: len(x)])
        for number, layer in enumerate(self._layers()):
            x = layer.decode(x, state, number, step)
        return x

    def sample(self, hidden: Tensor, state: LocalCache, draw: Draw) -> Tensor:
        """See Prior: [b, E] → [b, D]."""
        return self._drawn(hidden, draw)

    def redraw(self, codes: Tensor, classes: Tensor | None, place: int, draw: Draw) -> Tensor:
        """The codes [B, D] of one step, with nothing remembered of those before it [B, T, D]."""
        return self._drawn(self.features(codes, classes)[:, place], draw)

    def _drawn(self, hidden: Tensor, draw: Draw) -> Tensor:
        found = self.output_dense(hidden)
        if not self.is_mixture:
            return draw(found, 0)[:, None]
        config = self.config
        return draw_pixel(mixture_of(found, config.channels, config.mixture_layout), draw)

    def _layers(self) -> Iterable[Layer]:
        return cast(Iterable[Layer], self.layers)
