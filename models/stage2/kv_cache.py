"""Keys and values of all rows in flight: allocated once, written by index, never grown.

Layout [layer, k|v, row, head, position, dim]. Knows no positions of its own: the caller says where
each row stands. Positions that a row has not written hold finite numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.configs import TransformerConfig


class KVCache:
    """Static cache for `num_rows` rows of `num_positions` positions each."""

    def __init__(
        self, config: TransformerConfig, num_rows: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        row = (config.n_heads, config.num_positions, config.head_dim)
        # Zeros, not empty: masked positions are multiplied by weight 0, and 0 times NaN is NaN.
        self.data = torch.zeros((config.n_layers, 2, num_rows, *row), device=device, dtype=dtype)
        self._rows = torch.arange(num_rows, device=device)

    def write(self, layer: int, keys_values: Tensor, positions: Tensor) -> None:
        """Store one position of rows 0 .. b-1.

        Args:
            layer: which layer.
            keys_values: [2, b, H, dim].
            positions: [b] int64, where in each row.
        """
        num_rows = keys_values.shape[1]
        self.data[layer, :, self._rows[:num_rows], :, positions] = keys_values.transpose(0, 1)

    def read(self, layer: int, num_rows: int, span: int) -> tuple[Tensor, Tensor]:
        """Keys and values, [b, H, span, dim] each, of rows 0 .. num_rows-1."""
        keys, values = self.data[layer, :, :num_rows, :, :span]
        return keys, values

    def copy_prefix(self, prefix: Tensor, rows: Tensor) -> None:
        """Put one prompt's prefix, [layer, 2, 1, H, N, dim], at the front of the given rows.

        The rest of these rows is cleared: what a row with NaN left behind would reach the next one
        through the masked positions.
        """
        self.data[:, :, rows, :, : prefix.shape[-2]] = prefix
        self.data[:, :, rows, :, prefix.shape[-2] :] = 0
