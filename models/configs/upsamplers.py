"""Shapes of upsamplers as dataclasses. Knows no torch and no model by name."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from models.configs.backbone import BackboneConfig
from models.configs.numbers import Size
from models.configs.transformer import StackConfig

_CODEC = BackboneConfig(ch_mult=(1, 1, 2, 2), attn_resolutions=())
_BODY, _HEAD = StackConfig(1024, 4, 16), StackConfig(1024, 2, 16)


@dataclass(frozen=True, slots=True)
class CellUpsamplerConfig:
    """Shape of an upsampler that draws the finer codes of all cells at once.

    It reads a square grid of `num_steps` cells of coarse codes, row by row, with as many codes a
    cell as `coarse_sizes` has vocabularies. Each cell gets `ratio` × `ratio` finer codes of
    `n_embed`, whose vectors are `embed_dim` wide. The `codec` makes them of what the coarse picture
    lacks, and pixels of them. The `body` runs over cells, the `head` over the finer codes of one.

    Its defaults fit minDALL-E: 16×16 codes become 32×32 for the same 256×256 pixels. The encoder's
    and decoder's widths are those of its own finer levels.
    """

    num_steps: Size = 256
    coarse_sizes: tuple[Size, ...] = (16384,)
    ratio: Size = 2
    n_embed: Size = 8192
    embed_dim: Size = 64
    codec: BackboneConfig = _CODEC
    body: StackConfig = _BODY
    head: StackConfig = _HEAD

    @property
    def size(self) -> tuple[int, int]:
        """See UpsamplerConfig."""
        return self.codec.size

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """See UpsamplerConfig."""
        return self.num_steps, len(self.coarse_sizes)

    @property
    def code_shape(self) -> tuple[int, int]:
        """See UpsamplerConfig; a cell's finer codes stand row by row inside it."""
        return self.num_steps, self.ratio**2

    @property
    def vocab_size(self) -> int:
        """See UpsamplerConfig."""
        return self.n_embed

    @property
    def summary(self) -> str:
        """See UpsamplerConfig."""
        layers = f"{self.body.n_layers} + {self.head.n_layers} layers of {self.body.embed_dim}"
        return f"{self.side}×{self.side} → {self.finer_side}×{self.finer_side} codes, {layers}"

    @property
    def side(self) -> int:
        """Cells per side of the picture."""
        return isqrt(self.num_steps)

    @property
    def finer_side(self) -> int:
        """Finer codes per side of the picture."""
        return self.side * self.ratio
