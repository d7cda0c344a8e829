"""Coarse codes → logits of the finer ones, all at once: a light transformer without a cause.

All coarse codes are known, so every cell sees every other; a small head runs over the finer codes
of one cell, which see each other's places and not what is drawn there. Knows no sampling, no pixels
and no codec.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.upsamplers import CellUpsamplerConfig
from models.stage2.stack import Stack


class CellPrior(nn.Module):
    """Codes [B, T, D] of a square grid of cells → logits [B, T, K, V]."""

    def __init__(self, config: CellUpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.body.embed_dim
        self.tok_emb = nn.ModuleList(nn.Embedding(size, width) for size in config.coarse_sizes)
        self.pos_emb_h = nn.Embedding(config.side, width)
        self.pos_emb_w = nn.Embedding(config.side, width)
        self.body = Stack(config.body)
        self.ln_f = nn.LayerNorm(width)
        self.pos_emb_cell = nn.Embedding(config.code_shape[1], width)
        self.head = Stack(config.head)
        self.ln_head = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, config.n_embed, bias=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes [B, T, D] → logits [B, T, K, V]."""
        x = _all_seeing(self.body, self._tokens(codes))  # [B, T, E]
        cells = self.ln_f(x)[:, :, None] + self.pos_emb_cell.weight  # [B, T, K, E]
        drawn = _all_seeing(self.head, cells.flatten(0, 1)).view(cells.shape)
        logits: Tensor = self.classifier(self.ln_head(drawn))
        return logits

    def loss(self, codes: Tensor, finer: Tensor) -> Tensor:
        """Mean cross-entropy of finer codes [B, T, K] over coarse ones [B, T, D], in nats."""
        return F.cross_entropy(self(codes).flatten(0, 2), finer.flatten())

    def _tokens(self, codes: Tensor) -> Tensor:
        places = torch.arange(self.config.num_steps, device=codes.device)
        side = self.config.side
        x: Tensor = self.pos_emb_h(places // side) + self.pos_emb_w(places % side)
        tables = cast(Iterable[nn.Embedding], self.tok_emb)
        for table, of_depth in zip(tables, codes.unbind(-1), strict=True):
            x = x + table(of_depth)
        return x


def _all_seeing(stack: Stack, x: Tensor) -> Tensor:
    """Every position [B, T, E] sees every other: a mask of zeros hides nothing."""
    length = x.shape[1]
    seen: Tensor = stack(x, x.new_zeros(length, length))[0]
    return seen
