"""Stage 2 of the multi-scale VQ: one transformer draws coarse codes, a lighter one the finer ones.

The second reads all coarse codes as another reads its text; since a text is causal, it reads each
as soon as it is drawn. Both advance in one step, and where a row stands says whose logits count.
Knows no sampling and no checkpoint names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.hq import TwoScalesConfig
from models.stage2.blocks import Block
from models.stage2.kv_cache import CachedPrefix, KVCache
from models.stage2.prior import Draw
from models.stage2.transformer import Transformer


@dataclass(frozen=True, slots=True)
class TwoScalesState:
    """A `State`: both caches; the second begins empty."""

    top: KVCache
    bottom: KVCache

    def put(self, prefix: CachedPrefix, rows: Tensor) -> None:
        """See State."""
        self.top.put(prefix, rows)
        self.bottom.data[:, :, rows] = 0

    def scramble(self, generator: torch.Generator) -> None:
        """See State."""
        self.top.scramble(generator)
        self.bottom.scramble(generator)


class TwoScales(nn.Module):
    """A `Prior` of one code a step: the coarse grid's, then the finer grid's.

    What `sample` draws from are the logits themselves, [b, V]: a row's place has chosen them.
    """

    depth = 1

    def __init__(self, config: TwoScalesConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.top = Transformer(config.top)
        self.bottom = Transformer(config.bottom)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.top.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights that are not quantised, of activations and of the caches."""
        return self.top.dtype

    @property
    def reaches(self) -> tuple[int, ...]:
        """See Prior."""
        return (self.num_steps - 1,)

    def forward(self, prefix: Tensor, codes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Teacher-forced logits [B, t, V] after prefix ids [B, N] and the first codes [B, t].

        And, where there are finer ones among them, the second's [B, T_top - 1, V] of the coarse
        codes, which it isn't trained on.
        """
        border = self.config.top.num_steps
        top, bottom = codes[:, :border], codes[:, border:]
        coarse: Tensor = self.top(prefix, top)[0]
        if bottom.shape[1] == 0:
            return coarse, None
        finer, again = self.bottom(top, bottom)
        return torch.cat((coarse, finer), 1), again

    def loss(self, prefix: Tensor, codes: Tensor) -> Tensor:
        """Mean cross-entropy of codes [B, T] after prefix ids [B, N], in nats, of each grid's mean.

        Nothing of one reaches the other's weights: each half of the sum trains its own transformer.
        """
        logits, _ = self(prefix, codes)
        parts = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
        per_code = parts.view(codes.shape)
        border = self.config.top.num_steps
        return per_code[:, :border].mean() + per_code[:, border:].mean()

    def prefill(self, ids: Tensor) -> CachedPrefix:
        """See Prior."""
        prefix = self.top.prefill(ids)
        return CachedPrefix(prefix.keys_values, self.top.head(prefix.hidden))

    def new_state(self, num_rows: int) -> TwoScalesState:
        """See Prior."""
        return TwoScalesState(self.top.new_state(num_rows), self.bottom.new_state(num_rows))

    def decode(self, codes: Tensor, places: Tensor, state: TwoScalesState, reach: int) -> Tensor:
        """See Prior: codes [b, 1] → logits [b, V]."""
        border = self.config.top.num_steps
        finer = self._finer(codes[:, 0], places, state.bottom, reach)
        if border == 1:  # the first draws one code, of its prefix
            return finer
        # A row that is done with its coarse codes writes once more where its last one stood.
        coarse = self.top.decode(codes, places.clamp(max=border - 2), state.top, border - 1)
        is_coarse = (places < border - 1)[:, None]
        return torch.where(is_coarse, self.top.head(coarse), finer)

    def sample(self, hidden: Tensor, state: TwoScalesState, draw: Draw) -> Tensor:
        """See Prior: [b, V] → [b, 1]."""
        return draw(hidden, 0)[:, None]

    def _finer(self, codes: Tensor, places: Tensor, cache: KVCache, reach: int) -> Tensor:
        """The second's logits [b, V] behind codes [b] of either grid."""
        bottom, border = self.bottom, self.config.top.num_steps
        as_text = bottom.tok_emb_txt(codes) + bottom.pos_emb_txt(places.clamp(max=border - 1))
        as_code = bottom.embed_codes(codes, (places - border).clamp(min=0))
        x = torch.where((places < border)[:, None], as_text, as_code)
        step = cache.step(places, reach)
        for layer, block in enumerate(cast(Iterable[Block], bottom.blocks)):
            x = block.decode(x, cache, layer, step)
        logits: Tensor = bottom.head(bottom.ln_f(x))
        return logits
