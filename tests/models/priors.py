"""Two families that exist in tests only, as unlike the shipped ones as the seams allow.

`Trio` draws three codes a step, from vocabularies of 8, 5 and 3, by a second small stack of blocks
with a cache of its own, and reads the codec's codebook. `Ripple` has no key-value cache at all: a
causal convolution over the grid. Both are served by whatever serves the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import families
from models.configs import PrefixKind, Preset, SamplingDefaults
from models.families import CodecFamily, PriorFamily
from models.pipeline import LoadOptions, Pipeline, load
from models.presets import PRESETS
from models.stage2.blocks import Block
from models.stage2.kv_cache import CachedPrefix, KVCache
from models.stage2.prior import Draw
from models.views import View

_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class MosaicConfig:
    """`side` × `side` cells of `cell` × `cell` equal pixels."""

    side: int = 4
    cell: int = 4
    vocab_sizes: tuple[int, ...] = (8, 5, 3)

    @property
    def size(self) -> tuple[int, int]:
        return self.side * self.cell, self.side * self.cell

    @property
    def code_shape(self) -> tuple[int, int]:
        return self.side**2, len(self.vocab_sizes)

    @property
    def views(self) -> tuple[View, ...]:
        depth = len(self.vocab_sizes)
        return (View("level", "rough", 1), View("level", "whole", depth)) if depth > 1 else ()


class Mosaic(nn.Module):
    """A `Codec`: a cell's colour is the sigmoid of the sum of its codes' vectors."""

    def __init__(self, config: MosaicConfig) -> None:
        super().__init__()
        self.config = config
        self.code_shape = config.code_shape
        self.starts = [0, *accumulate(config.vocab_sizes)]
        self.book = nn.Embedding(sum(config.vocab_sizes), _CHANNELS)

    def vectors(self, codes: Tensor, depth: int) -> Tensor:
        """Codes of one depth, any shape → [..., 3]."""
        found: Tensor = self.book(codes + self.starts[depth])
        return found

    def encode(self, pixels: Tensor) -> Tensor:
        left = F.avg_pool2d(pixels, self.config.cell).flatten(2).mT.logit(1e-4)  # [B, T, 3]
        codes = []
        for depth, (start, stop) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            nearest = torch.cdist(left, self.book.weight[start:stop]).argmin(-1)
            left = left - self.vectors(nearest, depth)
            codes.append(nearest)
        return torch.stack(codes, -1)

    def pixels(self, codes: Tensor) -> Tensor:
        sums = torch.stack([self.vectors(c, d) for d, c in enumerate(codes.unbind(-1))]).sum(0)
        cells = sums.sigmoid().mT.reshape(len(codes), _CHANNELS, self.config.side, -1)
        return F.interpolate(cells, scale_factor=self.config.cell)

    def prepare(self) -> None:
        """Nothing to lay out."""


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
        self.inputs = nn.Linear(_CHANNELS, width)
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


@dataclass(frozen=True, slots=True)
class RippleConfig:
    """Text-conditional, one code a step over a square grid."""

    side: int = 4
    vocab_sizes: tuple[int, ...] = (12,)
    width: int = 10
    prompt_len: int = 6
    prompt_vocab_size: int = 100
    prompt_kind: PrefixKind = "text"
    summary: str = "a ripple"

    @property
    def num_steps(self) -> int:
        return self.side**2

    def row_bytes(self, number_bytes: int) -> int:
        return self.width * (1 + 2 * (self.side + 1) * (self.side + 2)) * number_bytes


@dataclass(frozen=True, slots=True)
class RipplePrefix:
    """The prompt's vector and the features of the first cell."""

    prompt: Tensor  # [1, C]
    first: Tensor  # [1, C]
    hidden: Tensor  # [1, C]


@dataclass(frozen=True, slots=True)
class RippleState:
    """Prompts [n, C], and embeddings and features of cells [2, n, cells, C], zero at the borders.

    The grid has a border above, at the left and at the right; `origin` is its first cell.
    """

    prompts: Tensor
    cells: Tensor
    origin: int

    def put(self, prefix: RipplePrefix, rows: Tensor) -> None:
        self.prompts[rows] = prefix.prompt
        self.cells[:, rows] = 0
        self.cells[1, rows, self.origin] = prefix.first

    def scramble(self, generator: torch.Generator) -> None:
        for tensor in (self.prompts, self.cells.transpose(0, 1)):
            row = torch.randn(tensor[:1].shape, generator=generator).to(tensor)
            tensor.copy_(row.expand_as(tensor))


class Ripple(nn.Module):
    """A `Prior`: two masked 3×3 convolutions; the first one doesn't see its own cell."""

    depth = 1

    def __init__(self, config: RippleConfig, _codec: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.reaches = (config.num_steps - 1,)
        width, self._line = config.width, config.side + 2
        self._around = (-self._line - 1, -self._line, -self._line + 1, -1)  # before a cell
        self.tokens = nn.Embedding(config.prompt_vocab_size, width)
        self.codes = nn.Embedding(config.vocab_sizes[0], width)
        self.first = nn.Linear(4 * width, width)
        self.second = nn.Linear(5 * width, width)
        self.logits = nn.Linear(width, config.vocab_sizes[0])

    @property
    def device(self) -> torch.device:
        return self.tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.tokens.weight.dtype

    def new_state(self, num_rows: int) -> RippleState:
        width, num_cells = self.config.width, (self.config.side + 1) * self._line
        cells = torch.zeros(2, num_rows, num_cells, width, device=self.device, dtype=self.dtype)
        return RippleState(torch.zeros_like(cells[0, :, 0]), cells, self._line + 1)

    def prefill(self, ids: Tensor) -> RipplePrefix:
        prompt = self.tokens(ids).mean(1)
        nothing = prompt.new_zeros(1, 4 * self.config.width)
        first = F.gelu(self.first(nothing) + prompt)
        return RipplePrefix(prompt, first, F.gelu(self.second(torch.cat((nothing, first), -1))))

    def decode(self, codes: Tensor, places: Tensor, state: RippleState, reach: int) -> Tensor:
        rows = torch.arange(len(codes), device=self.device)
        at, after = self._cell(places), self._cell(places + 1)
        state.cells[0, rows, at] = self.codes(codes[:, 0])
        before = self._before(state.cells[0], rows, after)
        state.cells[1, rows, after] = F.gelu(self.first(before) + state.prompts[: len(rows)])
        before = self._before(state.cells[1], rows, after)
        return F.gelu(self.second(torch.cat((before, state.cells[1, rows, after]), -1)))

    def sample(self, hidden: Tensor, state: RippleState, draw: Draw) -> Tensor:
        return draw(self.logits(hidden), 0)[:, None]

    def _cell(self, places: Tensor) -> Tensor:
        side = self.config.side
        return (places // side + 1) * self._line + places % side + 1

    def _before(self, cells: Tensor, rows: Tensor, at: Tensor) -> Tensor:
        return torch.cat([cells[rows, at + offset] for offset in self._around], -1)  # [b, 4 C]


_SAMPLING = SamplingDefaults(top_k=None, num_candidates=4)
_TRIO = Preset(
    name="test-trio",
    description="Three codes a step from vocabularies of 8, 5 and 3",
    licence="Apache-2.0",
    stage1=MosaicConfig(),
    stage2=TrioConfig(),
    sampling=_SAMPLING,
    weights="random",
)
_RIPPLE = Preset(
    name="test-ripple",
    description="A causal convolution without a key-value cache",
    licence="Apache-2.0",
    stage1=MosaicConfig(vocab_sizes=(12,)),
    stage2=RippleConfig(),
    sampling=_SAMPLING,
    weights="random",
)
OTHERS = (_TRIO.name, _RIPPLE.name)


@contextmanager
def registered() -> Iterator[None]:
    """Both families and their presets are known until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.CODECS, "mosaic", CodecFamily(MosaicConfig, Mosaic))
        patch.setitem(families.PRIORS, "trio", PriorFamily(TrioConfig, Trio))
        patch.setitem(families.PRIORS, "ripple", PriorFamily(RippleConfig, Ripple))
        for preset in (_TRIO, _RIPPLE):
            patch.setitem(PRESETS, preset.name, preset)
        yield


def load_any(name: str, options: LoadOptions | None = None) -> Pipeline:
    """As `load`, of these families as well."""
    with registered():
        return load(name, options=options)
