"""Stage 2: a causal transformer over a prefix and the image codes (minDALL-E, ImageGPT, minGPT).

One class for all three prefixes: text, a class, nothing. Three ways through the same blocks:
`forward` over whole sequences (training, checks), `prefill` of one prefix, `decode` of one position
per row against the cache. Knows no sampling and no checkpoint names. Position facts: the text and
the codes each count from 0, the start-of-sequence of class and empty prefixes has no position; in
VQ-GAN's own models (`vocab_size`) both are rows of the codes' tables and positions go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.transformer import TransformerConfig
from models.stage2.blocks import Block, EndsInNorm
from models.stage2.code_loss import text_cross_entropy
from models.stage2.kv_cache import CachedPrefix, KVCache, reaches
from models.stage2.prior import Draw


class Transformer(EndsInNorm):
    """minDALL-E's stage 2, a `Prior`."""

    depth = 1

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        width, vocab_size = config.embed_dim, config.vocab_size or config.vocab_size_img
        self.tok_emb_img = nn.Embedding(vocab_size, width)
        self.pos_emb_img = nn.Embedding(config.block_size or config.ctx_len_img, width)
        if config.prefix == "text":
            self.tok_emb_txt = nn.Embedding(config.vocab_size_txt, width)
            self.pos_emb_txt = nn.Embedding(config.ctx_len_txt, width)
            self.head_txt = nn.Linear(width, config.vocab_size_txt, bias=False)
        elif not config.vocab_size:
            self.sos = nn.Embedding(max(config.n_classes, 1), width)
        self.embd_drop = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)

    @property
    def reaches(self) -> tuple[int, ...]:
        """See Prior."""
        return reaches(self.config.prompt_len, self.num_steps, self.device, self.dtype)

    def new_state(self, num_rows: int) -> KVCache:
        config = self.config
        shape = (config.n_layers, config.n_heads, config.num_positions, config.head_dim)
        return KVCache(num_rows, shape, self.device, self.dtype)

    def embed_prefix(self, prefix: Tensor) -> Tensor:
        """Text ids [B, N], class ids [B, 1], or zeros [B, 1] for the empty prefix → [B, N, E].

        An empty prefix stands for the tokens `start`; others [B, N] may be given in their place.
        """
        if self.config.prefix == "text":
            tokens: Tensor = self.tok_emb_txt(prefix) + self.pos_emb_txt.weight[: prefix.shape[1]]
            return tokens
        if self.config.prefix == "none" and prefix.shape[1] == 1:
            start = torch.tensor(self.config.start, device=prefix.device)
            prefix = start.expand(len(prefix), -1)
        if self.config.vocab_size:
            joint: Tensor = self.tok_emb_img(prefix) + self.pos_emb_img.weight[: prefix.shape[1]]
            return joint
        sos: Tensor = self.sos(prefix)
        return sos

    def embed_codes(self, codes: Tensor, positions: Tensor) -> Tensor:
        """Codes and their places in the image, any equal shapes → [..., E]."""
        if self.config.vocab_size:
            positions = positions + self.config.prompt_len
        embedded: Tensor = self.tok_emb_img(codes) + self.pos_emb_img(positions)
        return embedded

    def hidden(self, prefix: Tensor, codes: Tensor) -> Tensor:
        """Prefix ids [B, N] and codes [B, t] → outputs of all positions [B, N + t, E]."""
        places = torch.arange(codes.shape[1], device=codes.device)
        embedded = torch.cat((self.embed_prefix(prefix), self.embed_codes(codes, places)), 1)
        x = self.embd_drop(embedded)
        mask = self._mask(x.shape[1])
        for block in self._blocks():
            x, _ = block(x, mask)
        out: Tensor = self.ln_f(x)
        return out

    def forward(self, prefix: Tensor, codes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Teacher-forced logits after prefix ids [B, N] (see `embed_prefix`) and codes [B, T].

        Of the image [B, T, V], position t predicts code t and the last code is never fed; and of
        a text prefix [B, N - 1, Vt], position j predicts token j + 1, else None. V are all tokens
        of the codes' table.
        """
        num_prefix = self.config.prompt_len
        x = self.hidden(prefix, codes[:, :-1])
        image: Tensor = self.head(x[:, num_prefix - 1 :])
        if self.config.prefix != "text":
            return image, None
        return image, self.head_txt(x[:, : num_prefix - 1])

    def coarsest_logits(self, prefix: Tensor, codes: Tensor) -> Tensor:
        """Of `forward`'s logits the image's [B, T, V], a step's only code being its coarsest."""
        x = self.hidden(prefix, codes[:, :-1])
        logits: Tensor = self.head(x[:, self.config.prompt_len - 1 :])
        return logits

    def loss(self, prefix: Tensor, codes: Tensor, text_weight: float = 0.0) -> Tensor:
        """Mean cross-entropy of codes [B, T] after prefix ids [B, N], in nats.

        With `text_weight` w it is (1 - w) of that and w of the text's, as DALL-E has it.
        """
        image, text = self(prefix, codes)
        loss = F.cross_entropy(image.flatten(0, 1), codes.flatten())
        if text is None or text_weight == 0:
            return loss
        return (1 - text_weight) * loss + text_weight * text_cross_entropy(text, prefix)

    def prefill(self, ids: Tensor) -> CachedPrefix:
        return self._prefilled(self.embed_prefix(ids))

    def prefill_with(self, ids: Tensor, codes: Tensor) -> CachedPrefix:
        """See Continuing."""
        places = torch.arange(codes.shape[1], device=codes.device)
        embedded = self.embed_codes(codes[..., 0], places)
        return self._prefilled(torch.cat((self.embed_prefix(ids), embedded), 1))

    def _prefilled(self, x: Tensor) -> CachedPrefix:
        mask, cached = self._mask(x.shape[1]), []
        for block in self._blocks():
            x, keys_values = block(x, mask)
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
        """See Prior: [b, E] → [b, 1]. Tokens that are no codes are never drawn."""
        return draw(self.head(hidden)[:, : self.config.vocab_size_img], 0)[:, None]

    def _mask(self, length: int) -> Tensor | None:
        """What `length` positions add to their scores [length, length]; None where it is causal."""
        num_open = min(self.config.n_unmasked, length)
        if num_open < 2:
            return None
        shape = length, length
        mask = torch.full(shape, -torch.inf, device=self.device, dtype=self.dtype).triu(1)
        mask[:num_open, :num_open] = 0
        return mask

    def _blocks(self) -> Iterable[Block]:
        return cast(Iterable[Block], self.blocks)
