"""What RQ-Transformer is made of: its classifier and the state of rows in flight.

Knows no codes and no prompts. Module names are the checkpoints'.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.stage2.kv_cache import CachedPrefix, KVCache, Step
from models.stage2.stack import table


class RQState:
    """A `State`: the body's cache, and the head's, which starts anew at each position.

    What the head reads of its cache it has written in the same step, so nobody needs to clear it.
    """

    def __init__(self, body: KVCache, head: KVCache, num_rows: int, depth: int) -> None:
        self.body = body
        self.head = head
        rows = torch.zeros(num_rows, dtype=torch.int64, device=head.data.device)
        self._steps = [head.step(rows + place, place + 1) for place in range(depth)]

    def put(self, prefix: CachedPrefix, rows: Tensor) -> None:
        """See State."""
        self.body.put(prefix, rows)

    def scramble(self, generator: torch.Generator) -> None:
        """See State."""
        self.body.scramble(generator)

    def depth_step(self, num_rows: int, depth: int) -> Step:
        """Where the head stands at a depth, in rows 0 .. num_rows-1."""
        return self._steps[depth].first(num_rows)


class DepthLinear(nn.Module):
    """A linear layer for each depth, as wide as the largest vocabulary."""

    def __init__(self, embed_dim: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes
        self.weight = table(len(sizes), embed_dim, max(sizes))
        self.bias = nn.Parameter(torch.zeros(len(sizes), max(sizes)))

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """[..., E] → [..., V] of this depth."""
        size = self.sizes[depth]
        return x @ self.weight[depth, :, :size] + self.bias[depth, :size]


class Classifier(nn.Module):
    """States → logits, by one linear layer for all depths or one for each."""

    def __init__(self, embed_dim: int, sizes: tuple[int, ...], *, is_shared: bool) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(embed_dim)
        self.linear = nn.Linear(embed_dim, sizes[0]) if is_shared else DepthLinear(embed_dim, sizes)

    def forward(self, x: Tensor, depth: int = 0) -> Tensor:
        """States [..., E] of one depth → logits [..., V] of that depth's codes."""
        normed = self.layer_norm(x)
        logits: Tensor
        if isinstance(self.linear, DepthLinear):
            logits = self.linear(normed, depth)
        else:
            logits = self.linear(normed)
        return logits
