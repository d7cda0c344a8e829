"""Shapes of the HQ family (You et al. 2022) as dataclasses: its codecs and its priors.

Knows no torch, and no model by name: `presets` has those. Fields are named as in the official
config.yaml where it has them; what the numbers mean is in the model files.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from models.configs.backbone import BackboneConfig
from models.configs.numbers import Amount, Count, Share, Size
from models.configs.prior import PrefixKind
from models.configs.transformer import StackConfig, TransformerConfig
from models.configs.views import View

Resize = Literal["pixelshuffle", "nearest", "conv"]
Smoothing = Literal["nearest", "deconv2d"]
# How a cell's finer codes are drawn: those of a level at once, one by one, or all with the top one.
Drawing = Literal["parallel", "causal", "bidirectional", "multilevel"]
# What the official files call them; a number says how many finer codes are drawn at once.
HQ_TYPES: dict[str, Drawing] = {
    "hq-transformer": "causal",
    "hq-transformer/parallel": "parallel",
    "hq-transformer/parallel4": "parallel",
    "hq-transformer/parallel16": "parallel",
    "hq-transformer/bidirectional": "bidirectional",
    "hq-transformer/bidirectional4": "bidirectional",
    "multilevel-hq": "multilevel",
}
Embedding = Literal["transformer", "reduce", "multiple", "bidirectional"]

_BODY, _HEAD = StackConfig(1536, 42, 24), StackConfig(1536, 4, 24)


def cell_levels(num_levels: int, ratio: int) -> tuple[int, ...]:
    """How many codes each level of a cell has: one, then those that lie below it."""
    return tuple(ratio ** (2 * level) for level in range(num_levels))


def cell_sizes(sizes: tuple[int, ...], ratio: int) -> tuple[int, ...]:
    """The vocabulary of each of a cell's codes, of one per level."""
    counts = cell_levels(len(sizes), ratio)
    return tuple(size for size, count in zip(sizes, counts, strict=True) for _ in range(count))


@dataclass(frozen=True, slots=True)
class HQVAEConfig(BackboneConfig):
    """Shape of an HQ-VAE (You et al. 2022): pixels ↔ a pyramid of code grids.

    `n_embed` has one codebook size a level, the coarsest first; each level's side is `ratio` times
    that of the level before, `resize` says how maps go from one to the next. `join` says what the
    decoder sees: coarse and finest vectors side by side (the two-level `simrqgan2`) or their sum
    (`hqvae`). With `has_shared_codebook` all levels use the coarsest level's vectors. `ema_update`
    says how the codebooks were learnt: by moving averages, or by gradients.
    """

    embed_dim: Size = 256
    n_embed: tuple[Size, ...] = (8192, 8192)
    ratio: Size = 2
    resize: Resize = "pixelshuffle"
    join: Literal["concat", "sum"] = "concat"
    has_shared_codebook: bool = False
    ema_update: bool = True

    @property
    def sides(self) -> tuple[int, ...]:
        """Codes per side of each level's grid, the coarsest first."""
        finer = reversed(range(len(self.n_embed)))
        return tuple(self.grid_size // self.ratio**steps for steps in finer)

    @property
    def dims(self) -> tuple[int, ...]:
        """Width of each level's code vectors: folding moves positions into channels."""
        fold = self.ratio**2 if self.resize == "pixelshuffle" else 1
        return tuple(self.embed_dim * fold**steps for steps in reversed(range(len(self.n_embed))))

    @property
    def code_shape(self) -> tuple[int, int]:
        """See CodecConfig; a step draws a coarsest code and all that lie below it."""
        return self.sides[0] ** 2, len(self.vocab_sizes)

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See CodecConfig."""
        return cell_sizes(self.n_embed, self.ratio)

    @property
    def codes_per_level(self) -> tuple[int, ...]:
        """See `Levelled`."""
        return cell_levels(len(self.n_embed), self.ratio)

    @property
    def views(self) -> tuple[View, ...]:
        """See CodecConfig; where a level is left out, its vectors are zeros."""
        middle = [f"middle{i}" for i in range(1, len(self.n_embed) - 1)]
        names = ["top", *(["middle"] if len(middle) == 1 else middle), "bottom"]
        depths = accumulate(self.codes_per_level)
        return tuple(View("level", name, depth) for name, depth in zip(names, depths, strict=True))


@dataclass(frozen=True, slots=True)
class MultiScaleConfig(BackboneConfig):
    """Shape of a two-scale codec in VQ-VAE-2's form (the HQ repository's `vqgan2`).

    The finer codes lie on the map before the encoder's last down-sampling, whose width must be
    `z_channels`. `upsample` is how the decoder sees the coarse codes at the finer size, `join` how
    the two meet, `ema_update` as in `HQVAEConfig`.
    """

    embed_dim: Size = 256
    n_embed: Size = 16384
    upsample: Smoothing = "nearest"
    join: Literal["concat", "sum"] = "concat"
    ema_update: bool = True

    @property
    def sides(self) -> tuple[int, int]:
        """Codes per side of the coarse and the finer grid."""
        return self.grid_size, 2 * self.grid_size

    @property
    def code_shape(self) -> tuple[int, int]:
        """See CodecConfig; all coarse codes, then all finer ones."""
        return sum(side**2 for side in self.sides), 1

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See CodecConfig."""
        return (self.n_embed,)


@dataclass(frozen=True, slots=True)
class HQTransformerConfig:
    """Shape of an HQ-Transformer: a step is a cell, one coarsest code and all that lie below it.

    `sizes` has one vocabulary a level, the coarsest first; each level's side is `ratio` times that
    of the level before. `drawing` says how a cell's codes are drawn; "multilevel" is "parallel" by
    the names of the official files of three levels. `embedding` is how a cell becomes one token:
    as the mean of its codes' tokens behind `n_emb_blocks` blocks ("transformer", and
    "bidirectional", which adds the position last), by laying narrow finer tokens side by side
    ("reduce"), or by weighing them ("multiple"). The position table has `ctx_len_img` rows, as many
    for rows and columns each if it is "2d", of which `num_steps` are used. The fields behind `head`
    are training's.
    """

    prefix: PrefixKind = "class"
    num_steps: Size = 64
    sizes: tuple[Size, ...] = (8192, 8192)
    ratio: Size = 2
    drawing: Drawing = "parallel"
    embedding: Embedding = "transformer"
    n_emb_blocks: Count = 0
    position_embedding: Literal["1d", "2d"] = "1d"
    ctx_len_img: Size = 256
    vocab_size_txt: Count = 0
    ctx_len_txt: Count = 0
    n_classes: Count = 0
    body: StackConfig = _BODY
    head: StackConfig = _HEAD
    embd_pdrop: Share = 0.0
    weight_bottom: Amount = 4.0
    weight_img: Amount = 1.0
    weight_txt: Amount = 0.0
    temp_soft_labels: Amount | None = None

    @property
    def embed_dim(self) -> int:
        """Width of all tokens."""
        return self.body.embed_dim

    @property
    def prompt_kind(self) -> PrefixKind:
        """See PriorConfig."""
        return self.prefix

    @property
    def prompt_len(self) -> int:
        """See PriorConfig; as many positions stand before the first cell."""
        return self.ctx_len_txt if self.prefix == "text" else 1

    @property
    def prompt_vocab_size(self) -> int:
        """See PriorConfig."""
        return self.vocab_size_txt if self.prefix == "text" else max(self.n_classes, 1)

    @property
    def codes_per_level(self) -> tuple[int, ...]:
        """See `Levelled`."""
        return cell_levels(len(self.sizes), self.ratio)

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See PriorConfig."""
        return cell_sizes(self.sizes, self.ratio)

    @property
    def windows(self) -> tuple[int, ...]:
        """How many of a cell's codes are drawn in each pass of the head, in their order.

        What is in a window sees all of it and all before it.
        """
        depth = sum(self.codes_per_level)
        if self.drawing == "causal":
            return (1,) * depth
        return (depth,) if self.drawing == "bidirectional" else self.codes_per_level

    @property
    def summary(self) -> str:
        """See PriorConfig."""
        body, head = self.body.n_layers, self.head.n_layers
        return f"{body} + {head} layers of {self.embed_dim}, {self.body.n_heads} heads"

    @property
    def num_positions(self) -> int:
        """Cache positions that the body needs per row; the last cell is never fed back."""
        return self.prompt_len + self.num_steps - 1

    def row_bytes(self, number_bytes: int) -> int:
        """See PriorConfig; the head keeps nothing from one step to the next."""
        return 2 * self.embed_dim * self.body.n_layers * self.num_positions * number_bytes


@dataclass(frozen=True, slots=True)
class TwoScalesConfig:
    """Two transformers, one after the other: over coarse codes, and over finer ones behind them.

    What a text is elsewhere are all coarse codes to the second.
    """

    top: TransformerConfig
    bottom: TransformerConfig

    @property
    def prompt_kind(self) -> PrefixKind:
        """See PriorConfig."""
        return self.top.prefix

    @property
    def prompt_len(self) -> int:
        """See PriorConfig."""
        return self.top.prompt_len

    @property
    def prompt_vocab_size(self) -> int:
        """See PriorConfig."""
        return self.top.prompt_vocab_size

    @property
    def num_steps(self) -> int:
        """See PriorConfig."""
        return self.top.num_steps + self.bottom.num_steps

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See PriorConfig."""
        return self.top.vocab_sizes

    @property
    def summary(self) -> str:
        """See PriorConfig."""
        return f"{self.top.summary}, then {self.bottom.summary}"

    def row_bytes(self, number_bytes: int) -> int:
        """See PriorConfig."""
        return self.top.row_bytes(number_bytes) + self.bottom.row_bytes(number_bytes)
