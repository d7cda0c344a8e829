"""Which positions see which in an Image Transformer (Parmar et al. 2018), and what each one is fed.

Positions are counted in drawing order. A block of queries has one list of keys, and a mask says
how much of it each query sees: in 1-D its own block as far as itself and the block before, in 2-D
also what lies around it above and to the left. Nothing is stored per pair of positions. Knows no
network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.configs.pixels import ImageTransformerConfig
from models.configs.raw_pixels import drawing_order


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """N blocks of up to Q queries, M keys each. Lists are filled up with positions that exist."""

    queries: Tensor  # [N, Q] positions
    keys: Tensor  # [N, M] positions
    is_seen: Tensor  # [N, Q, M]
    block: Tensor  # [T], in which block a position is a query
    offset: Tensor  # [T], and where in it
    is_fed: Tensor  # [T], whether its input is the position before; else nothing

    @property
    def support(self) -> Tensor:
        """What sees what, [T, T] bool: for checks, it grows with the square."""
        num = len(self.block)
        seen = torch.zeros(num, num, dtype=torch.bool)
        for position in range(num):
            block = int(self.block[position])
            keys = self.keys[block][self.is_seen[block, int(self.offset[position])]]
            seen[position, keys] = True
        return seen


def plan_of(config: ImageTransformerConfig) -> AttentionPlan:
    """The plan of a model's every layer."""
    if config.attn_type == "local_2d":
        return plan_2d(config.grid, config.query_shape, config.memory_flange)
    length = config.num_steps
    return plan_1d(length, config.block_length if config.attn_type == "local_1d" else length)


def plan_1d(length: int, block: int) -> AttentionPlan:
    """Blocks of a line; as long as the line itself they are plain causal attention."""
    block = min(block, length)
    position = torch.arange(length, device="cpu")
    first = torch.arange(0, length, block, device="cpu")[:, None]
    queries = first + torch.arange(block, device="cpu")
    memory = block if block < length else 0
    keys = first - memory + torch.arange(memory + block, device="cpu")
    exists = (keys >= 0) & (keys < length)
    is_seen = exists[:, None] & (keys[:, None] <= queries[..., None])
    return AttentionPlan(
        queries.clamp(max=length - 1),
        keys.clamp(0, length - 1),
        is_seen,
        position // block,
        position % block,
        position > 0,
    )


def plan_2d(
    grid: tuple[int, int], query: tuple[int, int], flange: tuple[int, int]
) -> AttentionPlan:
    """Rectangles `query` of a grid, seeing `flange` rows above and columns on both sides."""
    order = torch.tensor(drawing_order(grid, query), device="cpu")
    rank = order.argsort().view(grid)
    blocks = [
        _rectangle(rank, (row, column), query, flange)
        for row in range(0, grid[0], query[0])
        for column in range(0, grid[1], query[1])
    ]
    queries, keys, seen = (torch.stack(parts) for parts in zip(*blocks, strict=True))
    row, column = order // grid[1], order % grid[1]
    across = -(-grid[1] // query[1])
    offset = row % query[0] * query[1] + column % query[1]
    block = row // query[0] * across + column // query[1]
    before = torch.cat((offset.new_tensor([-1]), offset[:-1]))
    return AttentionPlan(queries, keys, seen, block, offset, (offset > 0) & (before == offset - 1))


def _rectangle(
    rank: Tensor, origin: tuple[int, int], query: tuple[int, int], flange: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [Q], keys [M] and what each sees [Q, M] of one block."""
    (row, column), (high, wide), (up, aside) = origin, query, flange
    above = _places(rank, range(row - up, row), range(column - aside, column + wide + aside))
    left = _places(rank, range(row, row + high), range(column - aside, column))
    own = _places(rank, range(row, row + high), range(column, column + wide))
    around = torch.cat((above, left))
    causal = torch.ones(len(own), len(own), dtype=torch.bool).tril() & (own >= 0)
    seen = torch.cat(((around >= 0).expand(len(own), -1), causal), 1)
    return own.clamp(min=0), torch.cat((around, own)).clamp(min=0), seen


def _places(rank: Tensor, rows: range, columns: range) -> Tensor:
    """Positions of a rectangle line by line, -1 outside of the grid."""
    cells = [(i, j) for i in rows for j in columns]
    inside = [0 <= i < rank.shape[0] and 0 <= j < rank.shape[1] for i, j in cells]
    found = [int(rank[i, j]) if ok else -1 for (i, j), ok in zip(cells, inside, strict=True)]
    return torch.tensor(found, dtype=torch.int64, device="cpu")


def timing(grid: tuple[int, int], width: int) -> Tensor:
    """The position signal [rows, columns, width]: sines and cosines, half of it for each axis."""
    count = width // 4
    inverse = torch.exp(torch.arange(count) * -(torch.log(torch.tensor(1e4)) / max(count - 1, 1)))
    signal = torch.zeros(*grid, width)
    for axis, size in enumerate(grid):
        angles = torch.arange(size)[:, None] * inverse
        waves = torch.cat((angles.sin(), angles.cos()), 1)  # [size, 2 count]
        begin = axis * 2 * count
        signal[..., begin : begin + 2 * count] = waves[:, None] if axis == 0 else waves
    return signal
