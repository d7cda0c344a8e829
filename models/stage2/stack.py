"""Stacks of transformer blocks, and learnt tables: what priors of a body and a head are made of.

Knows no codes and no prompts. Module names are the checkpoints'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.configs.transformer import StackConfig
from models.stage2.blocks import Block
from models.stage2.kv_cache import KVCache, Step


def table(*shape: int) -> nn.Parameter:
    """Learnt vectors that nothing else normalises: N(0, 0.02)."""
    return nn.Parameter(torch.empty(shape).normal_(std=0.02))


class Stack(nn.Module):
    """Blocks one after the other; no norm behind them."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))

    def forward(
        self, x: Tensor, mask: Tensor | None = None, past: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """[B, T, E] → [B, T, E], and each block's keys and values [2, B, H, T, dim].

        `past` is what an earlier call returned for the positions before these; see `Attention`.
        """
        cached = []
        for layer, block in enumerate(self._blocks()):
            x, keys_values = block(x, mask, past[layer] if past else None)
            cached.append(keys_values)
        return x, cached

    def decode(self, x: Tensor, cache: KVCache, step: Step) -> Tensor:
        """One position per row, [b, E] → [b, E]."""
        for layer, block in enumerate(self._blocks()):
            x = block.decode(x, cache, layer, step)
        return x

    def new_cache(self, num_rows: int, num_positions: int, like: Tensor) -> KVCache:
        """A cache of so many rows, on the device and of the type of `like`."""
        config = self.config
        dim = config.embed_dim // config.n_heads
        shape = (config.n_layers, config.n_heads, num_positions, dim)
        return KVCache(num_rows, shape, like.device, like.dtype)

    def _blocks(self) -> Iterable[Block]:
        return cast(Iterable[Block], self.blocks)
