"""The smallest shapes of blocks, for tests of what is around them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SmallBlock:
    """As blocks ask for it."""

    embed_dim: int = 8
    n_heads: int = 2
    attn_bias: bool = True
    mlp_bias: bool = True
    gelu_use_approx: bool = False
    attn_pdrop: float = 0.0
    resid_pdrop: float = 0.0
