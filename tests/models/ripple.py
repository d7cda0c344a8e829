"""A prior that exists in tests only, without a key-value cache.

It is a causal convolution over the grid, which keeps what it saw in a state of its own kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs.prior import PrefixKind
from models.stage2.prior import Draw


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
