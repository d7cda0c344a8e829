"""Shapes of the HQ family's codecs (You et al. 2022) as dataclasses.

Knows no torch, and no model by name: `presets` has those. Fields are named as in the official
config.yaml where it has them; what the numbers mean is in the model files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.configs import BackboneConfig, Size

Resize = Literal["pixelshuffle", "nearest", "conv"]


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
        sizes = enumerate(self.n_embed)
        return tuple(size for level, size in sizes for _ in range(self.ratio ** (2 * level)))


@dataclass(frozen=True, slots=True)
class MultiScaleConfig(BackboneConfig):
    """Shape of a two-scale codec in VQ-VAE-2's form (the HQ repository's `vqgan2`).

    The finer codes lie on the map before the encoder's last down-sampling, whose width must be
    `z_channels`. `upsample` is how the decoder sees the coarse codes at the finer size, `join` how
    the two meet, `ema_update` as in `HQVAEConfig`.
    """

    embed_dim: Size = 256
    n_embed: Size = 16384
    upsample: Literal["nearest", "deconv2d"] = "nearest"
    join: Literal["concat", "sum"] = "concat"
    ema_update: bool = True

    @property
    def sides(self) -> tuple[int, int]:
        """Codes per side of the coarse and the finer grid."""
        return self.grid_size, 2 * self.grid_size

    @property
    def code_shape(self) -> tuple[int, int]:
        """See CodecConfig; a step draws a coarse code and the four below it."""
        return self.grid_size**2, 5

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See CodecConfig."""
        return (self.n_embed,) * 5
