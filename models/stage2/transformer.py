"""Stage 2: a causal transformer over a prefix and the image codes (minDALL-E, ImageGPT).

One class for all three prefixes: text, a class, nothing. Three ways through the same blocks:
`forward` over whole sequences (training, checks), `prefill` of one prefix, `decode` of one position
per row against the cache. Knows no sampling and no checkpoint names. Position facts: the text and
the codes each count from 0, the start-of-sequence of class and empty prefixes has no position.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import TransformerConfig
from models.stage2.blocks import Block
from models.stage2.kv_cache import CachedPrefix, KVCache
from models.stage2.prior import Draw

_SPAN_STEP = 64  # cache positions between two spans that a step may read


class Transformer(nn.Module):
    """minDALL-E's stage 2, a `Prior`."""

    depth = 1

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        width = config.embed_dim
        self.tok_emb_img = nn.Embedding(config.vocab_size_img, width)
        self.pos_emb_img = nn.Embedding(config.ctx_len_img, width)
        if config.prefix == "text":
            self.tok_emb_txt = nn.Embedding(config.vocab_size_txt, width)
            self.pos_emb_txt = nn.Embedding(config.ctx_len_txt, width)
            self.head_txt = nn.Linear(width, config.vocab_size_txt, bias=False)
        else:
            self.sos = nn.Embedding(max(config.n_classes, 1), width)
        self.embd_drop = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.vocab_size_img, bias=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.ln_f.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights that are not quantised, of activations and of the cache."""
        return self.ln_f.weight.dtype

    @property
    def reaches(self) -> tuple[int, ...]:
        """See Prior: the cache is read up to a multiple of `_SPAN_STEP` positions, or whole."""
        start, last = self.config.prompt_len, self.num_steps - 1
        # The CPU's 16-bit products copy what isn't dense, which costs more than the cache's rest.
        if self.device.type == "cpu" and self.dtype.itemsize <= 2:
            return (last,)
        ends = range(_SPAN_STEP, self.config.num_positions, _SPAN_STEP)
        return (*(end - start for end in ends if end > start), last)

    def new_state(self, num_rows: int) -> KVCache:
        config = self.config
        shape = (config.n_layers, config.n_heads, config.num_positions, config.head_dim)
        return KVCache(num_rows, shape, self.device, self.dtype)

    def embed_prefix(self, prefix: Tensor) -> Tensor:
        """Text ids [B, N], class ids [B, 1], or zeros [B, 1] for the empty prefix → [B, N, E]."""
        if self.config.prefix == "text":
            tokens: Tensor = self.tok_emb_txt(prefix) + self.pos_emb_txt.weight[: prefix.shape[1]]
            return tokens
        sos: Tensor = self.sos(prefix)
        return sos

    def embed_codes(self, codes: Tensor, positions: Tensor) -> Tensor:
        """Codes and their places in the image, any equal shapes → [..., E]."""
        embedded: Tensor = self.tok_emb_img(codes) + self.pos_emb_img(positions)
        return embedded

    def hidden(self, prefix: Tensor, codes: Tensor) -> Tensor:
        """Prefix ids [B, N] and codes [B, t] → outputs of all positions [B, N + t, E]."""
        places = torch.arange(codes.shape[1], device=codes.device)
        embedded = torch.cat((self.embed_prefix(prefix), self.embed_codes(codes, places)), 1)
        x = self.embd_drop(embedded)
        for block in self._blocks():
            x, _ = block(x)
        out: Tensor = self.ln_f(x)
        return out

    def forward(self, prefix: Tensor, codes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Teacher-forced logits after prefix ids [B, N] (see `embed_prefix`) and codes [B, T].

        Of the image [B, T, V], position t predicts code t and the last code is never fed; and of
        a text prefix [B, N - 1, Vt], position j predicts token j + 1, else None.
        """
        num_prefix = prefix.shape[1]
        x = self.hidden(prefix, codes[:, :-1])
        image: Tensor = self.head(x[:, num_prefix - 1 :])
        if self.config.prefix != "text":
            return image, None
        return image, self.head_txt(x[:, : num_prefix - 1])

    def loss(self, prefix: Tensor, codes: Tensor, text_weight: float = 0.0) -> Tensor:
        """Mean cross-entropy of codes [B, T] after prefix ids [B, N], in nats.

        With `text_weight` w it is (1 - w) of that and w of the text's, as DALL-E has it.
        """
        image, text = self(prefix, codes)
        loss = F.cross_entropy(image.flatten(0, 1), codes.flatten())
        if text is None or text_weight == 0:
            return loss
        text_loss = F.cross_entropy(text.flatten(0, 1), prefix[:, 1:].flatten())
        return (1 - text_weight) * loss + text_weight * text_loss

    def prefill(self, ids: Tensor) -> CachedPrefix:
        return self._prefilled(self.embed_prefix(ids))

    def prefill_with(self, ids: Tensor, codes: Tensor) -> CachedPrefix:
        """See Continuing."""
        places = torch.arange(codes.shape[1], device=codes.device)
        embedded = self.embed_codes(codes[..., 0], places)
        return self._prefilled(torch.cat((self.embed_prefix(ids), embedded), 1))

    def _prefilled(self, x: Tensor) -> CachedPrefix:
        cached = []
        for block in self._blocks():
            x, keys_values = block(x)
            cached.append(keys_values)
        return CachedPrefix(torch.stack(cached), self.ln_f(x[:, -1]))

    def decode(self, codes: Tensor, places: Tensor, state: KVCache, reach: int) -> Tensor:
        """See Prior: [b, 1] → [b, E]."""
        start = self.config.prompt_len
        step = state.step(start + places, start + reach)
        x = self.embed_codes(codes[:, 0], places)
        for layer, block in enumerate(self._blocks()):
            x = block.decode(x, state, layer, step)
        out: Tensor = self.ln_f(x)
        return out

    def sample(self, hidden: Tensor, state: KVCache, draw: Draw) -> Tensor:
        """See Prior: [b, E] → [b, 1]."""
        return draw(self.head(hidden), 0)[:, None]

    def _blocks(self) -> Iterable[Block]:
        return cast(Iterable[Block], self.blocks)
