"""DALL-E's stage 2 (Ramesh et al. 2021) as ru-DALL-E has it: one transformer, a mask per layer.

Text tokens and image codes share positions, blocks and the last norms; each has logits of its own.
Padding is told apart by its position. Knows no sampling and no checkpoint names. Three ways through
the same blocks, as in `transformer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.dalle import DalleConfig, Mask
from models.stage2.blocks import Block, BlockOptions, EndsInNorm
from models.stage2.kv_cache import CachedPrefix, KVCache, reaches
from models.stage2.masks import SequenceMask
from models.stage2.prior import Draw

_START = 2  # the text's first token, which version 2 puts there twice


class DalleState:
    """A `State`: a cache for the layers of each mask, as long as that mask looks back."""

    def __init__(
        self, caches: dict[Mask, KVCache], layers: tuple[Mask, ...], num_text: int
    ) -> None:
        self.caches = caches
        self._num_text = num_text
        self._layers = {
            mask: [layer for layer, other in enumerate(layers) if other == mask] for mask in caches
        }

    def put(self, prefix: CachedPrefix, rows: Tensor) -> None:
        """See State."""
        for mask, cache in self.caches.items():
            keys_values = self._kept(prefix.keys_values[self._layers[mask]], cache)
            cache.put(CachedPrefix(keys_values, prefix.hidden), rows)

    def _kept(self, keys_values: Tensor, cache: KVCache) -> Tensor:
        """Of text and cells [..., P, dim] what the cache has room for, each cell in its slot."""
        num_slots = cache.data.shape[-2] - self._num_text
        num_cells = keys_values.shape[-2] - self._num_text
        if num_cells <= num_slots:
            return keys_values
        text, cells = torch.split(keys_values, [self._num_text, num_cells], -2)
        return torch.cat((text, cells[..., -num_slots:, :].roll(num_cells % num_slots, -2)), -2)

    def scramble(self, generator: torch.Generator) -> None:
        """See State."""
        for cache in self.caches.values():
            cache.scramble(generator)


class GridPositions(nn.Module):
    """A learnt vector for each row and each column of the grid; a cell has the sum of both."""

    def __init__(self, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        self.num_columns = grid[1]
        self.row = nn.Embedding(grid[0], width)
        self.column = nn.Embedding(grid[1], width)

    def forward(self, cells: Tensor) -> Tensor:
        """Places in raster order, any shape → [..., E]."""
        at: Tensor = self.row(cells // self.num_columns) + self.column(cells % self.num_columns)
        return at


class Dalle(EndsInNorm):
    """A `Prior` of one code a step over a grid."""

    depth = 1

    def __init__(self, config: DalleConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.masks = config.layer_masks
        width = config.embed_dim
        options = BlockOptions(config.sandwich_norms, tanh_gelu=config.gelu == "tanh")
        self.tok_emb_txt = nn.Embedding(config.vocab_size_txt, width)
        self.pos_emb_txt = nn.Embedding(config.ctx_len_txt + 1, width)
        self.tok_emb_img = nn.Embedding(config.vocab_size_img, width)
        self.pos_emb_img = GridPositions(config.grid, width)
        self.embd_drop = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(Block(config, options) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(width)
        self.ln_head = nn.LayerNorm(width)
        self.head_txt = nn.Linear(width, config.vocab_size_txt)
        self.head = nn.Linear(width, config.vocab_size_img)

    @property
    def reaches(self) -> tuple[int, ...]:
        """See Prior: what looks back over the whole grid is read as far as it is drawn."""
        whole = self.config.num_cells
        if all(self.config.num_kept(mask) < whole for mask in self.masks):
            return (self.num_steps - 1,)
        return reaches(self._first_place, self.num_steps, self.device, self.dtype)

    @property
    def _first_place(self) -> int:
        """Positions before the first code."""
        return self.config.ctx_len_txt + self.config.has_second_start

    def new_state(self, num_rows: int) -> DalleState:
        """See Prior."""
        return DalleState(
            {mask: self._new_cache(mask, num_rows) for mask in dict.fromkeys(self.masks)},
            self.masks,
            self.config.ctx_len_txt,
        )

    def _new_cache(self, mask: Mask, num_rows: int) -> KVCache:
        config = self.config
        num_positions = config.ctx_len_txt + config.num_kept(mask)
        shape = (self.masks.count(mask), config.n_heads, num_positions, config.head_dim)
        return KVCache(num_rows, shape, self.device, self.dtype)

    def text_tokens(self, ids: Tensor) -> Tensor:
        """Text ids [B, N], 0 where there is no text → the tokens that are fed, [B, N or N + 1]."""
        pads = torch.arange(ids.shape[1], device=ids.device) + self.config.prompt_vocab_size
        tokens = torch.where(ids == 0, pads, ids)
        return F.pad(tokens, (1, 0), value=_START) if self.config.has_second_start else tokens

    def embed_prefix(self, ids: Tensor) -> Tensor:
        """Text ids [B, N] → [B, N or N + 1, E]."""
        tokens = self.text_tokens(ids)
        embedded: Tensor = self.tok_emb_txt(tokens) + self.pos_emb_txt.weight[: tokens.shape[1]]
        return embedded

    def embed_codes(self, codes: Tensor, places: Tensor) -> Tensor:
        """Codes and their places in the image, any equal shapes → [..., E]."""
        embedded: Tensor = self.tok_emb_img(codes) + self.pos_emb_img(places)
        return embedded

    def states(self, ids: Tensor, codes: Tensor) -> Tensor:
        """Text ids [B, N] and codes [B, t] → what both heads read at all positions [B, P, E]."""
        x, _ = self._through_blocks(self.embd_drop(self._embed(ids, codes)))
        return x

    def _embed(self, ids: Tensor, codes: Tensor) -> Tensor:
        places = torch.arange(codes.shape[1], device=codes.device)
        return torch.cat((self.embed_prefix(ids), self.embed_codes(codes, places)), 1)

    def _through_blocks(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, P, E] → what the heads read, and each block's keys and values [2, B, H, P, dim]."""
        kinds, cached = dict.fromkeys(self.masks), []
        seen = {mask: self._sequence(mask).over(x.shape[1], x.device) for mask in kinds}
        for block, mask in zip(self._blocks(), self.masks, strict=True):
            x, keys_values = block(x, seen[mask])
            cached.append(keys_values)
        return self._behind_blocks(x), cached

    def forward(self, ids: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher-forced logits after text ids [B, N] and codes [B, T].

        Of the image [B, T, V], position t predicts code t and the last code is never fed; and of
        the text [B, P - 1, Vt], where position j of its P predicts token j + 1.
        """
        start = self._first_place
        x = self.states(ids, codes[:, :-1])
        return self.head(x[:, start - 1 :]), self.head_txt(x[:, : start - 1])

    def loss(self, ids: Tensor, codes: Tensor, text_weight: float = 0.0) -> Tensor:
        """Mean cross-entropy of codes [B, T] after text ids [B, N], in nats.

        With `text_weight` w it is (1 - w) of that and w of the text's; DALL-E's is 1/8.
        """
        image, text = self(ids, codes)
        loss = F.cross_entropy(image.flatten(0, 1), codes.flatten())
        if text_weight == 0:
            return loss
        targets = self.text_tokens(ids)[:, 1:]
        text_loss = F.cross_entropy(text.flatten(0, 1), targets.flatten())
        return (1 - text_weight) * loss + text_weight * text_loss

    def perplexity(self, ids: Tensor, codes: Tensor) -> Tensor:
        """How little it expects pictures: the mean of 1 / p over their codes, [B], 1 at least.

        Of codes [B, T] after text ids [B, N], the first code left out: ru-DALL-E ranks by this, and
        its version 3 has never learnt to draw the first one.
        """
        image: Tensor = self.head(self.states(ids, codes[:, :-1])[:, self._first_place :])
        losses = F.cross_entropy(image.float().mT, codes[:, 1:], reduction="none")
        return losses.exp().mean(1)

    def prefill(self, ids: Tensor) -> CachedPrefix:
        """See Prior."""
        return self._prefilled(self.embed_prefix(ids))

    def prefill_with(self, ids: Tensor, codes: Tensor) -> CachedPrefix:
        """See Continuing."""
        return self._prefilled(self._embed(ids, codes[..., 0]))

    def _prefilled(self, x: Tensor) -> CachedPrefix:
        x, cached = self._through_blocks(x)
        return CachedPrefix(torch.stack(cached), x[:, -1])

    def decode(self, codes: Tensor, places: Tensor, state: DalleState, reach: int) -> Tensor:
        """See Prior: [b, 1] → [b, E]."""
        shift = int(self.config.has_second_start)
        steps = {
            mask: cache.at(*self._sight(mask, places + shift, reach + shift))
            for mask, cache in state.caches.items()
        }
        layer_of = dict.fromkeys(state.caches, 0)
        x = self.embed_codes(codes[:, 0], places)
        for block, mask in zip(self._blocks(), self.masks, strict=True):
            x = block.decode(x, state.caches[mask], layer_of[mask], steps[mask])
            layer_of[mask] += 1
        return self._behind_blocks(x)

    def sample(self, hidden: Tensor, state: DalleState, draw: Draw) -> Tensor:
        """See Prior: [b, E] → [b, 1]."""
        return draw(self.head(hidden), 0)[:, None]

    def _sight(self, mask: Mask, cells: Tensor, num_drawn: int) -> tuple[Tensor, Tensor]:
        num_kept = self.config.num_kept(mask)
        num_slots = min(num_kept, num_drawn)
        return self._sequence(mask).sight(cells, num_kept, num_slots, self.dtype)

    def _sequence(self, mask: Mask) -> SequenceMask:
        return SequenceMask(mask, self.config.ctx_len_txt, self.config.grid)

    def _behind_blocks(self, x: Tensor) -> Tensor:
        out: Tensor = self.ln_head(self.ln_f(x))
        return out

    def _blocks(self) -> Iterable[Block]:
        return cast(Iterable[Block], self.blocks)
