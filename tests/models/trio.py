"""A prior that exists in tests only: three codes a step, from vocabularies of 8, 5 and 3.

It draws them by a second small stack of blocks with a cache of its own, and reads the codec's
codebook.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from models.configs.prior import PrefixKind
from models.stage2.blocks import Block
from models.stage2.kv_cache import CachedPrefix, KVCache
from models.stage2.prior import Draw
from tests.models.mosaic import CHANNELS, Mosaic


@dataclass(frozen=True, slots=True)
class TrioConfig:
    """Class-conditional, 16 steps of three codes."""

    num_steps: int = 16
    vocab_sizes: tuple[int, ...] = (8, 5, 3)
    embed_dim: int = 24
    n_heads: int = 3
    n_layers: int = 2
    prompt_vocab_size: int = 6
    prompt_kind: PrefixKind = "class"
    prompt_len: int = 1
    attn_bias: bool = True
    mlp_bias: bool = True
    gelu_use_approx: bool = False
    attn_pdrop: float = 0.0
    resid_pdrop: float = 0.0
    summary: str = "a trio"

    def row_bytes(self, number_bytes: int) -> int:
        numbers = self.n_layers * self.num_steps + len(self.vocab_sizes)
        return 2 * self.embed_dim * numbers * number_bytes


@dataclass(frozen=True, slots=True)
class TrioState:
    """Of the body over steps, and of the head over one step's depths."""

    body: KVCache
    head: KVCache

    def put(self, prefix: CachedPrefix, rows: Tensor) -> None:
        self.body.put(prefix, rows)

    def scramble(self, generator: torch.Generator) -> None:
        self.body.scramble(generator)


class Trio(nn.Module):
    """A `Prior`: body and head share the codec's vectors as their input."""

    def __init__(self, config: TrioConfig, codec: nn.Module) -> None:
        super().__init__()
        assert isinstance(codec, Mosaic)
        self._vectors = codec.vectors  # a method and no module: its weights stay the codec's
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.depth = len(config.vocab_sizes)
        self.reaches = (4, 8, 12, config.num_steps - 1)
        width = config.embed_dim
        self.sos = nn.Embedding(config.prompt_vocab_size, width)
        self.places = nn.Embedding(config.num_steps, width)
        self.depths = nn.Embedding(self.depth, width)
        self.inputs = nn.Linear(CHANNELS, width)
        self.body = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.head = Block(config)
        self.logits = nn.ModuleList(nn.Linear(width, size) for size in config.vocab_sizes)

    @property
    def device(self) -> torch.device:
        return self.sos.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.sos.weight.dtype

    def new_state(self, num_rows: int) -> TrioState:

        def cache(layers: int, positions: int) -> KVCache:
            dim = self.config.embed_dim // self.config.n_heads
            shape = (layers, self.config.n_heads, positions, dim)
            return KVCache(num_rows, shape, self.device, self.dtype)

        return TrioState(cache(self.config.n_layers, self.num_steps), cache(1, self.depth))

    def prefill(self, ids: Tensor) -> CachedPrefix:
        x, cached = self.sos(ids), []
        for block in self._body():
            x, keys_values = block(x)
            cached.append(keys_values)
        return CachedPrefix(torch.stack(cached), x[:, -1])

    def decode(self, codes: Tensor, places: Tensor, state: TrioState, reach: int) -> Tensor:
        vectors = [self._vectors(c, d) for d, c in enumerate(codes.unbind(-1))]
        x: Tensor = self.inputs(torch.stack(vectors).sum(0).to(self.dtype)) + self.places(places)
        step = state.body.step(1 + places, 1 + reach)
        for layer, block in enumerate(self._body()):
            x = block.decode(x, state.body, layer, step)
        return x

    def sample(self, hidden: Tensor, state: TrioState, draw: Draw) -> Tensor:
        x, codes = hidden, list[Tensor]()
        for depth, logits in enumerate(self.logits):
            step = state.head.step(torch.full((len(hidden),), depth, device=self.device), depth + 1)
            out = self.head.decode(x + self.depths.weight[depth], state.head, 0, step)
            codes.append(draw(logits(out), depth))
            x = self.inputs(self._vectors(codes[depth], depth).to(self.dtype))
        return torch.stack(codes, -1)

    def _body(self) -> Iterable[Block]:
        return cast(Iterable[Block], self.body)
