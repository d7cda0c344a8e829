"""What an Image Transformer remembers of rows in flight, and what follows from its shape alone.

Keys and values of as many positions as can still be seen, allocated once; `Tables` are the same for
all rows. Knows no weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.configs.pixels import ImageTransformerConfig
from models.configs.raw_pixels import drawing_order
from models.stage2.local_attention import AttentionPlan, plan_of, timing


@dataclass(frozen=True, slots=True)
class Tables:
    """What follows from a shape alone, by position in drawing order."""

    plan: AttentionPlan
    order: Tensor  # [T], raster place
    channel: Tensor  # [T], of the picture; 0 where a position is a pixel
    signal: Tensor  # [T, E], of its place

    @classmethod
    def of(cls, config: ImageTransformerConfig) -> Tables:
        order = torch.tensor(drawing_order(config.grid, config.drawing_block))
        channel = order % (config.channels if config.distr == "categorical" else 1)
        signal = timing(config.grid, config.hidden_size).flatten(0, 1)[order]
        return cls(plan_of(config), order, channel, signal)

    def on(self, device: torch.device, dtype: torch.dtype) -> Tables:
        """The same there; itself, if it is there already."""
        if self.signal.device == device and self.signal.dtype == dtype:
            return self
        plan = AttentionPlan(
            *(getattr(self.plan, name).to(device) for name in AttentionPlan.__slots__)
        )
        return Tables(
            plan, self.order.to(device), self.channel.to(device), self.signal.to(device, dtype)
        )


@dataclass(frozen=True, slots=True)
class LocalStep:
    """Where rows stand and what they see from there."""

    rows: Tensor  # [b]
    slot: Tensor  # [b], where the position itself is kept
    seen: Tensor | None  # [b, M] slots; None where all of them are read
    mask: Tensor  # [b, 1, 1, M], 0 where a row may look and -inf elsewhere


@dataclass(frozen=True, slots=True)
class LocalPrefix:
    """What every picture of a class begins with."""

    state: LocalCache
    hidden: Tensor  # [1, E]


class LocalCache:
    """See `State`: keys and values of what can still be seen, in a ring if that is two blocks.

    Layout [layer, row, head, slot, dim].
    """

    def __init__(self, config: ImageTransformerConfig, tables: Tables, num_rows: int) -> None:
        self.tables = tables
        like, length = tables.signal, config.num_steps
        is_ring = config.attn_type == "local_1d" and 2 * config.block_length < length
        self._ring = 2 * config.block_length if is_ring else length
        heads = config.num_heads
        shape = (config.nlayers, num_rows, heads, self._ring)
        self.keys = like.new_zeros(*shape, config.key_depth // heads)
        self.values = like.new_zeros(*shape, config.value_depth // heads)
        self.classes = torch.zeros(num_rows, dtype=torch.int64, device=like.device)
        self._heads = torch.arange(heads, device=like.device)[:, None]

    def step(self, positions: Tensor) -> LocalStep:
        """A step of rows that stand at positions [b]."""
        plan, device = self.tables.plan, positions.device
        block, offset = plan.block[positions], plan.offset[positions]
        seen, is_seen = plan.keys[block] % self._ring, plan.is_seen[block, offset]
        mask = torch.zeros(seen.shape, device=device, dtype=self.keys.dtype)
        mask = mask.masked_fill(~is_seen, -torch.inf)
        slots: Tensor | None = seen
        if seen.shape[1] >= self._ring:  # reading all of them is less than picking some
            nothing = torch.full((len(seen), self._ring), -torch.inf, device=device)
            # Places that fill a list up stand for a slot as well, which somebody else may see.
            mask = nothing.to(mask).scatter_reduce(1, seen, mask, "amax")
            slots = None
        rows = torch.arange(len(positions), device=device)
        return LocalStep(rows, positions % self._ring, slots, mask[:, None, None])

    def seen(self, layer: int, k: Tensor, v: Tensor, step: LocalStep) -> tuple[Tensor, Tensor]:
        """Keep a position's key and value [b, H, dim]; all that it sees, [b, H, M, dim] each."""
        keys, values, count = self.keys[layer], self.values[layer], len(step.rows)
        keys[step.rows, :, step.slot], values[step.rows, :, step.slot] = k, v
        if step.seen is None:
            return keys[:count], values[:count]
        at = step.rows[:, None, None], self._heads, step.seen[:, None]
        return keys[at], values[at]

    def put(self, prefix: LocalPrefix, rows: Tensor) -> None:
        begun = prefix.state
        self.keys[:, rows], self.values[:, rows] = begun.keys, begun.values
        self.classes[rows] = begun.classes

    def scramble(self, generator: torch.Generator) -> None:
        for tensor in (self.keys, self.values):
            row = torch.randn(tensor[:, :1].shape, generator=generator).to(tensor)
            tensor.copy_(row.expand_as(tensor))
