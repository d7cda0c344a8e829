"""Stage 2 of the RQ family: RQ-Transformer, D codes at each position (Lee et al. 2022).

A body runs over the prefix and the positions, one token each; at every position a small head runs
over the depths, from the body's output and the codes above. Knows no sampling and no checkpoint
names. Facts that are easy to get wrong: the body's token is the sum of D projected vectors, so the
projection's bias counts D times; the head sees running sums over the depths, projected once; no
norm stands behind body or head but the classifier's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.rq import RQTransformerConfig
from models.stage2.code_loss import (
    hard_cross_entropy,
    side_by_side,
    soft_cross_entropy,
    text_cross_entropy,
)
from models.stage2.kv_cache import CachedPrefix, reaches
from models.stage2.prior import Draw
from models.stage2.rq_parts import Classifier, RQState
from models.stage2.stack import Stack, table

LookUp = Callable[[Tensor, int], Tensor]  # codes [...] of a depth → their vectors [..., C]


class RQTransformer(nn.Module):
    """RQ-Transformer. Where its config reads stage 1's codebook, `share` must come first."""

    def __init__(self, config: RQTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.depth = config.num_steps, config.depth
        self.vocab_sizes = config.vocab_sizes
        self._look_up: LookUp | None = None
        width, sizes = config.embed_dim, config.vocab_sizes
        self.cond_emb = nn.Embedding(max(config.vocab_size_cond, 1), width)
        self.pos_emb_cond = table(1, config.prompt_len, width)
        self.pos_emb_hw = table(1, config.num_steps, width)
        self.pos_emb_d = table(1, config.depth, width)
        if config.input_emb_vqvae:
            self.input_mlp = nn.Linear(config.input_embed_dim, width)
        if config.head_emb_vqvae:
            self.head_mlp = nn.Linear(config.input_embed_dim, width)
        if not (config.input_emb_vqvae and config.head_emb_vqvae):
            num_codes = sizes[0] if config.shared_tok_emb else sum(sizes)
            self.tok_emb = nn.Embedding(num_codes, width)
        self.embed_drop = nn.Dropout(config.embd_pdrop)
        self.body_transformer = Stack(config.body)
        self.head_transformer = Stack(config.head)
        self.classifier = Classifier(width, sizes, is_shared=config.shared_cls_emb)
        if config.prefix == "text":
            self.cond_classifier = Classifier(width, (config.vocab_size_cond,), is_shared=True)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pos_emb_d.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights that are not quantised, of activations and of the cache."""
        return self.pos_emb_d.dtype

    @property
    def reaches(self) -> tuple[int, ...]:
        """See Prior."""
        return reaches(self.config.prompt_len, self.num_steps, self.device, self.dtype)

    def share(self, look_up: LookUp) -> None:
        """Read code vectors where stage 1 keeps them; no copy is made."""
        self._look_up = look_up

    def embed_prefix(self, prefix: Tensor) -> Tensor:
        """Ids [B, N], a text's, a class or zero → [B, N, E]."""
        embedded: Tensor = self.cond_emb(prefix) + self.pos_emb_cond
        return embedded

    def embed_codes(self, codes: Tensor) -> Tensor:
        """Codes [..., D] → the body's tokens [..., E], without their positions."""
        if self.config.input_emb_vqvae:
            projected: Tensor = self.input_mlp(
                _each_depth(self._stage1_vector, codes).to(self.dtype)
            )
            return projected.sum(-2)
        return _each_depth(self._own_vector, codes).sum(-2)

    def embed_depths(self, codes: Tensor) -> Tensor:
        """Codes of the first d depths [..., d] → what the head reads behind each, [..., d, E]."""
        if not self.config.head_emb_vqvae:
            return _each_depth(self._own_vector, codes)
        vectors = _each_depth(self._stage1_vector, codes)
        if self.config.cumsum_depth_ctx:
            vectors = vectors.cumsum(-2)
        projected: Tensor = self.head_mlp(vectors.to(self.dtype))
        return projected

    def forward(self, prefix: Tensor, codes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Teacher-forced logits.

        Args:
            prefix: ids [B, N], see `embed_prefix`.
            codes: [B, T, D].

        Returns:
            Logits [B, T, D, V] of each code, -inf beyond the vocabulary of a depth that has fewer
            codes than others; and for text prefixes the text logits [B, N - 1, Vt], position j
            predicts token j + 1, else None.
        """
        tokens = self.embed_codes(codes[:, :-1]) + self.pos_emb_hw[:, : codes.shape[1] - 1]
        x = torch.cat((self.embed_prefix(prefix), tokens), 1)
        x, _ = self.body_transformer(self.embed_drop(x))
        num_prefix = prefix.shape[1]
        logits = self._head_logits(x[:, num_prefix - 1 :], codes)
        if self.config.prefix != "text":
            return logits, None
        return logits, self.cond_classifier(x[:, : num_prefix - 1])

    def loss(
        self,
        prefix: Tensor,
        codes: Tensor,
        targets: list[Tensor] | None = None,
        text_weight: float = 0.0,
    ) -> Tensor:
        """Mean cross-entropy of codes [B, T, D] after prefix ids [B, N], in nats.

        Against soft `targets` where given, see `soft_cross_entropy`. With `text_weight` w it is
        (1 - w) of that and w of the text's.
        """
        logits, text = self(prefix, codes)
        parts = hard_cross_entropy(logits, codes)
        if targets is not None:
            parts = soft_cross_entropy(logits, targets)
        if text is None or text_weight == 0:
            return parts.mean()
        return (1 - text_weight) * parts.mean() + text_weight * text_cross_entropy(text, prefix)

    def prefill(self, ids: Tensor) -> CachedPrefix:
        """See Prior."""
        return self._prefilled(self.embed_prefix(ids))

    def prefill_with(self, ids: Tensor, codes: Tensor) -> CachedPrefix:
        """See Continuing."""
        tokens = self.embed_codes(codes) + self.pos_emb_hw[:, : codes.shape[1]]
        return self._prefilled(torch.cat((self.embed_prefix(ids), tokens), 1))

    def _prefilled(self, tokens: Tensor) -> CachedPrefix:
        x, cached = self.body_transformer(tokens)
        return CachedPrefix(torch.stack(cached), x[:, -1])

    def new_state(self, num_rows: int) -> RQState:
        """See Prior."""
        config = self.config
        body = self.body_transformer.new_cache(num_rows, config.num_positions, self.pos_emb_d)
        head = self.head_transformer.new_cache(num_rows, config.depth, self.pos_emb_d)
        return RQState(body, head, num_rows, config.depth)

    def decode(self, codes: Tensor, places: Tensor, state: RQState, reach: int) -> Tensor:
        """See Prior: codes [b, D] → the body's output [b, E]."""
        start = self.config.prompt_len
        x = self.embed_codes(codes) + self.pos_emb_hw[0, places]
        return self.body_transformer.decode(
            x, state.body, state.body.step(start + places, start + reach)
        )

    def sample(self, hidden: Tensor, state: RQState, draw: Draw) -> Tensor:
        """See Prior: the body's output [b, E] → codes [b, D], one after the other."""
        codes: list[Tensor] = []
        x, running = hidden, None
        for depth in range(self.config.depth):
            x = x + self.pos_emb_d[0, depth]
            x = self.head_transformer.decode(x, state.head, state.depth_step(len(x), depth))
            codes.append(draw(self.classifier(x, depth), depth))
            if depth + 1 < self.config.depth:
                x, running = self._behind(codes[-1], depth, running)
        return torch.stack(codes, -1)

    def _behind(
        self, code: Tensor, depth: int, running: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What the head reads behind a code [b] of this depth, [b, E]; and the new running sum."""
        if not self.config.head_emb_vqvae:
            return self._own_vector(code, depth), None
        vector = self._stage1_vector(code, depth)
        if self.config.cumsum_depth_ctx and running is not None:
            vector = running + vector
        projected: Tensor = self.head_mlp(vector.to(self.dtype))
        return projected, vector

    def _head_logits(self, contexts: Tensor, codes: Tensor) -> Tensor:
        """The body's outputs [B, T, E] and the codes → logits [B, T, D, V]."""
        x = contexts[:, :, None]
        if self.depth > 1:
            x = torch.cat((x, self.embed_depths(codes[..., :-1])), 2)
        x = x + self.pos_emb_d
        x = self.head_transformer(x.flatten(0, 1))[0].view(x.shape)  # [B, T, D, E]
        return side_by_side(
            [self.classifier(x[:, :, depth], depth) for depth in range(codes.shape[2])]
        )

    def _stage1_vector(self, code: Tensor, depth: int) -> Tensor:
        if self._look_up is None:
            raise RuntimeError("an RQ-Transformer needs stage 1's codebook: call share first")
        return self._look_up(code, depth)

    def _own_vector(self, code: Tensor, depth: int) -> Tensor:
        vectors = self.tok_emb.weight
        if not self.config.shared_tok_emb:
            begin = sum(self.vocab_sizes[:depth])
            vectors = vectors[begin : begin + self.vocab_sizes[depth]]
        return F.embedding(code, vectors)


def _each_depth(look_up: LookUp, codes: Tensor) -> Tensor:
    """Codes of the first d depths [..., d] → their vectors [..., d, C]."""
    return torch.stack([look_up(code, i) for i, code in enumerate(codes.unbind(-1))], -2)
