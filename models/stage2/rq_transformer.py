"""Stage 2 of the RQ family: RQ-Transformer, D codes at each position (Lee et al. 2022).

A body runs over the prefix and the positions, one token each; at every position a small head runs
over the depths, from the body's output and the codes above. Knows no sampling and no checkpoint
names. Facts that are easy to get wrong: the body's token is the sum of D projected vectors, so the
projection's bias counts D times; the head sees running sums over the depths, projected once; no
norm stands behind body or head but the classifier's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import TransformerConfig
from models.rq_configs import RQStackConfig, RQTransformerConfig
from models.stage2.transformer import Block

Vectors = Callable[[Tensor], Tensor]  # codes [..., 1..D] → stage 1's vectors [..., 1..D, C]


class Stack(nn.Module):
    """Blocks one after the other."""

    def __init__(self, config: RQStackConfig, embed_dim: int) -> None:
        super().__init__()
        shape = TransformerConfig(
            embed_dim=embed_dim,
            n_heads=config.n_heads,
            mlp_bias=config.mlp_bias,
            attn_bias=config.attn_bias,
            gelu_use_approx=config.gelu_use_approx,
            attn_pdrop=config.attn_pdrop,
            resid_pdrop=config.resid_pdrop,
        )
        self.blocks = nn.ModuleList(Block(shape) for _ in range(config.n_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Whole sequences [B, T, E] → [B, T, E]."""
        for block in cast(Iterable[Block], self.blocks):
            x, _ = block(x)
        return x


class DepthLinear(nn.Module):
    """A linear layer for each depth, as wide as the largest vocabulary."""

    def __init__(self, embed_dim: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes
        self.weight = nn.Parameter(torch.empty(len(sizes), embed_dim, max(sizes)))
        self.bias = nn.Parameter(torch.empty(len(sizes), max(sizes)))

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """[..., E] → [..., V] of this depth."""
        size = self.sizes[depth]
        return x @ self.weight[depth, :, :size] + self.bias[depth, :size]


class Classifier(nn.Module):
    """States → logits, by one linear layer for all depths or one for each."""

    def __init__(self, embed_dim: int, sizes: tuple[int, ...], *, is_shared: bool) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(embed_dim)
        self.linear = (
            nn.Linear(embed_dim, sizes[0]) if is_shared else DepthLinear(embed_dim, sizes)
        )

    def forward(self, x: Tensor, depth: int = 0) -> Tensor:
        """States [..., E] of one depth → logits [..., V] of that depth's codes."""
        normed = self.layer_norm(x)
        logits: Tensor
        if isinstance(self.linear, DepthLinear):
            logits = self.linear(normed, depth)
        else:
            logits = self.linear(normed)
        return logits


class RQTransformer(nn.Module):
    """RQ-Transformer. Where its config reads stage 1's codebook, `share` must come first."""

    def __init__(self, config: RQTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self._vectors: Vectors | None = None
        width, sizes = config.embed_dim, config.vocab_sizes
        self.cond_emb = nn.Embedding(max(config.vocab_size_cond, 1), width)
        self.pos_emb_cond = nn.Parameter(torch.empty(1, config.prefix_len, width))
        self.pos_emb_hw = nn.Parameter(torch.empty(1, config.num_steps, width))
        self.pos_emb_d = nn.Parameter(torch.empty(1, config.depth, width))
        if config.input_emb_vqvae:
            self.input_mlp = nn.Linear(config.input_embed_dim, width)
        if config.head_emb_vqvae:
            self.head_mlp = nn.Linear(config.input_embed_dim, width)
        if not (config.input_emb_vqvae and config.head_emb_vqvae):
            num_codes = sizes[0] if config.shared_tok_emb else sum(sizes)
            self.tok_emb = nn.Embedding(num_codes, width)
        self.embed_drop = nn.Dropout(config.embd_pdrop)
        self.body_transformer = Stack(config.body, width)
        self.head_transformer = Stack(config.head, width)
        self.classifier = Classifier(width, sizes, is_shared=config.shared_cls_emb)
        if config.prefix == "text":
            self.cond_classifier = Classifier(width, (config.vocab_size_cond,), is_shared=True)

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights that are not quantised, of activations and of the cache."""
        return self.pos_emb_d.dtype

    def share(self, vectors: Vectors) -> None:
        """Read code vectors where stage 1 keeps them; no copy is made."""
        self._vectors = vectors

    def embed_prefix(self, prefix: Tensor) -> Tensor:
        """Ids [B, N], a text's, a class or zero → [B, N, E]."""
        embedded: Tensor = self.cond_emb(prefix) + self.pos_emb_cond
        return embedded

    def embed_codes(self, codes: Tensor) -> Tensor:
        """Codes [..., D] → the body's tokens [..., E], without their positions."""
        if self.config.input_emb_vqvae:
            projected: Tensor = self.input_mlp(self._stage1_vectors(codes).to(self.dtype))
            return projected.sum(-2)
        return self._own_vectors(codes).sum(-2)

    def embed_depths(self, codes: Tensor) -> Tensor:
        """Codes of the first d depths [..., d] → what the head reads behind each, [..., d, E]."""
        if not self.config.head_emb_vqvae:
            return self._own_vectors(codes)
        vectors = self._stage1_vectors(codes)
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
        x = self.body_transformer(self.embed_drop(x))
        num_prefix = prefix.shape[1]
        logits = self._head_logits(x[:, num_prefix - 1 :], codes)
        if self.config.prefix != "text":
            return logits, None
        return logits, self.cond_classifier(x[:, : num_prefix - 1])

    def _head_logits(self, contexts: Tensor, codes: Tensor) -> Tensor:
        """The body's outputs [B, T, E] and the codes → logits [B, T, D, V]."""
        depths = self.embed_depths(codes[..., :-1])
        x = torch.cat((contexts[:, :, None], depths), 2) + self.pos_emb_d
        x = self.head_transformer(x.flatten(0, 1)).unflatten(0, codes.shape[:2])  # [B, T, D, E]
        logits = [self.classifier(x[:, :, depth], depth) for depth in range(codes.shape[2])]
        widest = max(self.config.vocab_sizes)
        padded = [F.pad(part, (0, widest - part.shape[-1]), value=-torch.inf) for part in logits]
        return torch.stack(padded, 2)

    def _stage1_vectors(self, codes: Tensor) -> Tensor:
        if self._vectors is None:
            raise RuntimeError("an RQ-Transformer needs stage 1's codebook: call share first")
        return self._vectors(codes)

    def _own_vectors(self, codes: Tensor) -> Tensor:
        """Codes [..., d] → the model's own vectors [..., d, E]."""
        if self.config.shared_tok_emb:
            vectors: Tensor = self.tok_emb(codes)
            return vectors
        tables = self.tok_emb.weight.split(self.config.vocab_sizes)
        parts = zip(codes.unbind(-1), tables, strict=False)
        return torch.stack([F.embedding(code, table) for code, table in parts], -2)
