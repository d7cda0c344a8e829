"""Shapes of DALL-E's family (Ramesh et al. 2021) as dataclasses: its masks and its transformer.

Knows no torch, and no model by name: `presets` has those. What a mask lets a position see is
in `stage2/masks.py`, here is only how far back that reaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.configs.numbers import Share, Size
from models.configs.prior import PrefixKind

MaskKind = Literal[
    "full",  # every earlier cell
    "row",  # the last `width` cells and itself, over the row's start (DALL-E's figure a)
    "column",  # cells of its own column (figure b); "masked column" is the same
    "masked_row",  # cells of its own row, as DALLE-pytorch's axial_row
    "conv_v3",  # a square around it, cut at the borders: ru-DALL-E since v3
    "conv_v2",  # a square around it that goes on at the other border: ru-DALL-E v2
    "conv_like",  # a square whose last corner it is: DALLE-pytorch
]


@dataclass(frozen=True, slots=True)
class Mask:
    """What image cells see of each other; `kernel` is the side of a convolutional mask's square."""

    kind: MaskKind
    kernel: int = 11

    def window(self, grid: tuple[int, int]) -> int:
        """How many cells back, itself counted, the oldest one may lie on a grid of (h, w) cells."""
        height, width = grid
        around = self.kernel // 2
        windows = {
            "row": width + 1,
            "masked_row": width,
            "conv_v3": around * (width + 1) + 1,
            "conv_like": (self.kernel - 1) * (width + 1) + 1,
        }
        return min(windows.get(self.kind, height * width), height * width)


def ru_dalle_masks(n_layers: int) -> tuple[MaskKind, ...]:
    """The pattern of ru-DALL-E, which is the paper's: row, column, row, row, …, and conv at last.

    Where the last layer's turn is a column's it stays one, so six layers have no conv.
    """
    pattern: list[MaskKind] = ["column" if i % 4 == 1 else "row" for i in range(n_layers)]
    if pattern[-1] == "row":
        pattern[-1] = "conv_v3"
    return tuple(pattern)


@dataclass(frozen=True, slots=True)
class DalleConfig:
    """Shape of a DALL-E: one transformer over text tokens and image codes.

    `vocab_size_txt` counts a pad of its own for each of `ctx_len_txt` positions, the last ones.
    `grid` is rows and columns of codes; layer i has mask i of `masks`, which are repeated over the
    layers. With `has_second_start` the text's start token stands twice, as in ru-DALL-E's version
    2: the masks' first cell is then the last text token.
    """

    embed_dim: Size = 2048
    n_layers: Size = 24
    n_heads: Size = 16
    vocab_size_txt: Size = 16384 + 128
    ctx_len_txt: Size = 128
    vocab_size_img: Size = 8192
    grid: tuple[Size, Size] = (32, 32)
    masks: tuple[MaskKind, ...] = ru_dalle_masks(24)
    conv_kernel: Size = 11
    has_second_start: bool = False
    sandwich_norms: bool = True
    attn_bias: bool = True
    mlp_bias: bool = True
    gelu: Literal["erf", "tanh"] = "tanh"
    embd_pdrop: Share = 0.0
    resid_pdrop: Share = 0.0
    attn_pdrop: Share = 0.0

    @property
    def prompt_kind(self) -> PrefixKind:
        """See PriorConfig."""
        return "text"

    @property
    def prompt_len(self) -> int:
        """See PriorConfig."""
        return self.ctx_len_txt

    @property
    def prompt_vocab_size(self) -> int:
        """See PriorConfig; the pads are the model's own affair."""
        return self.vocab_size_txt - self.ctx_len_txt

    @property
    def num_steps(self) -> int:
        """See PriorConfig."""
        return self.grid[0] * self.grid[1]

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See PriorConfig."""
        return (self.vocab_size_img,)

    @property
    def summary(self) -> str:
        """See PriorConfig."""
        return f"{self.n_layers} layers of {self.embed_dim}, {self.n_heads} heads"

    @property
    def gelu_use_approx(self) -> bool:
        """As blocks ask for it: this family has other approximations."""
        return False

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.n_heads

    @property
    def layer_masks(self) -> tuple[Mask, ...]:
        """One for each layer."""
        kinds = (self.masks[i % len(self.masks)] for i in range(self.n_layers))
        return tuple(Mask(kind, self.conv_kernel) for kind in kinds)

    @property
    def num_cells(self) -> int:
        """Cells that are ever fed; the last code is drawn but never fed back."""
        return self.num_steps - 1 + self.has_second_start

    def num_kept(self, mask: Mask) -> int:
        """Cells whose keys and values a layer with this mask keeps: no more than it can see."""
        return max(min(mask.window(self.grid), self.num_cells), 1)

    def row_bytes(self, number_bytes: int) -> int:
        """See PriorConfig."""
        positions = sum(self.ctx_len_txt + self.num_kept(mask) for mask in self.layer_masks)
        return 2 * self.embed_dim * positions * number_bytes
