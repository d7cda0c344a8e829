"""The convolutions that codecs share, as a dataclass. Knows no torch and no codebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.configs.numbers import Share, Size
from models.configs.views import View


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    """Shape of the encoder and decoder that VQGAN (Esser et al. 2021) and its successors share.

    `patch_size` p > 1 folds each p×p block of pixels into channels before the encoder and unfolds
    it after the decoder; the official models have 1. `norm_groups` is 32 in all official models;
    with `norm` "none" nothing is normalised, so that what stands in one corner does not change the
    codes of another. Without `resamp_with_conv` maps are halved by means and doubled by repeating.
    The `use_` switches are the HQ family's: `use_init_downsample` halves the map in the encoder's
    first convolution (and doubles it at the decoder's last level), `use_mid_block` and `use_attn`
    leave parts out.
    """

    z_channels: Size = 256
    resolution: Size = 256
    in_channels: Size = 3
    out_ch: Size = 3
    ch: Size = 128
    ch_mult: tuple[Size, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: Size = 2
    attn_resolutions: tuple[Size, ...] = (16,)
    pdrop: Share = 0.0
    patch_size: Size = 1
    norm_groups: Size = 32
    norm: Literal["group", "none"] = "group"
    resamp_with_conv: bool = True
    use_init_downsample: bool = False
    use_mid_block: bool = True
    use_attn: bool = True

    @property
    def grid_size(self) -> int:
        """Positions per side of the encoder's map."""
        halvings = len(self.ch_mult) - 1 + self.use_init_downsample
        return (self.resolution // self.patch_size) >> halvings

    @property
    def size(self) -> tuple[int, int]:
        return self.resolution, self.resolution

    @property
    def views(self) -> tuple[View, ...]:
        return ()
