"""Shapes of the RQ family (Lee et al. 2022) as dataclasses: RQ-VAE and RQ-Transformer.

Knows no torch, and no model by name: `presets` has those. Fields are named as in the official
config.yaml files; what the numbers mean is in the model files.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from models.configs.prior import PrefixKind
from models.configs.transformer import StackConfig
from models.configs.views import View
from models.configs.vqgan import VQGANConfig

_BODY, _HEAD = StackConfig(1280, 26, 20), StackConfig(1280, 4, 20)


@dataclass(frozen=True, slots=True)
class RQVAEConfig:
    """Shape of an RQ-VAE: pixels ↔ a grid of positions with D codes each.

    `latent_shape` is the encoder's (H, W, embed_dim), `grid` the codes' (h, w, D), in the official
    files `code_shape`: where h is smaller than H, neighbouring vectors are quantised as one.
    `n_embed` has one size per depth. For `patch_size` to `use_attn` see `BackboneConfig`; `decay`
    and the fields behind it are training's.
    """

    embed_dim: int = 256
    n_embed: tuple[int, ...] = (16384,) * 4
    latent_shape: tuple[int, int, int] = (8, 8, 256)
    grid: tuple[int, int, int] = (8, 8, 4)
    shared_codebook: bool = True
    z_channels: int = 256
    resolution: int = 256
    in_channels: int = 3
    out_ch: int = 3
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (8,)
    dropout: float = 0.0
    patch_size: int = 1
    norm_groups: int = 32
    norm: Literal["group", "none"] = "group"
    use_attn: bool = True
    decay: tuple[float, ...] = (0.99,) * 4
    restart_unused_codes: bool = True
    loss_type: Literal["mse", "l1"] = "mse"
    latent_loss_weight: float = 0.25

    @property
    def autoencoder(self) -> VQGANConfig:
        """What its encoder and decoder are, which are VQGAN's."""
        return VQGANConfig(
            embed_dim=self.embed_dim,
            n_embed=self.n_embed[0],
            z_channels=self.z_channels,
            resolution=self.resolution,
            in_channels=self.in_channels,
            out_ch=self.out_ch,
            ch=self.ch,
            ch_mult=self.ch_mult,
            num_res_blocks=self.num_res_blocks,
            attn_resolutions=self.attn_resolutions,
            pdrop=self.dropout,
            patch_size=self.patch_size,
            norm_groups=self.norm_groups,
            norm=self.norm,
            use_attn=self.use_attn,
        )

    @property
    def size(self) -> tuple[int, int]:
        """See CodecConfig."""
        return self.resolution, self.resolution

    @property
    def code_shape(self) -> tuple[int, int]:
        """See CodecConfig."""
        return self.grid[0] * self.grid[1], self.grid[2]

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See CodecConfig."""
        return self.n_embed

    @property
    def views(self) -> tuple[View, ...]:
        """See CodecConfig; each further depth adds what the ones before it left over."""
        return tuple(View("depth", str(depth), depth) for depth in range(1, self.grid[2] + 1))

    @property
    def fold(self) -> tuple[int, int]:
        """Rows and columns of the encoder's vectors that are quantised as one."""
        return self.latent_shape[0] // self.grid[0], self.latent_shape[1] // self.grid[1]

    @property
    def code_dim(self) -> int:
        """Width of a codebook's vectors."""
        return prod(self.fold) * self.embed_dim


@dataclass(frozen=True, slots=True)
class RQTransformerConfig:
    """Shape of an RQ-Transformer over codes of `block_size` (h, w, D).

    `input_emb_vqvae` and `head_emb_vqvae` say whether body and head read stage 1's codebook, of
    width `input_embed_dim`, through a linear layer of their own, or the model's own code table.
    """

    prefix: PrefixKind = "text"
    block_size: tuple[int, int, int] = (8, 8, 4)
    vocab_sizes: tuple[int, ...] = (16384,) * 4
    vocab_size_cond: int = 16384
    block_size_cond: int = 32
    embed_dim: int = 1280
    input_embed_dim: int = 256
    input_emb_vqvae: bool = True
    head_emb_vqvae: bool = True
    cumsum_depth_ctx: bool = True
    shared_tok_emb: bool = True
    shared_cls_emb: bool = True
    embd_pdrop: float = 0.0
    body: StackConfig = _BODY
    head: StackConfig = _HEAD

    @property
    def prompt_kind(self) -> PrefixKind:
        """See PriorConfig."""
        return self.prefix

    @property
    def prompt_len(self) -> int:
        """See PriorConfig; as many positions stand before the first code."""
        return self.block_size_cond

    @property
    def prompt_vocab_size(self) -> int:
        """See PriorConfig."""
        return self.vocab_size_cond

    @property
    def num_steps(self) -> int:
        """See PriorConfig."""
        return self.block_size[0] * self.block_size[1]

    @property
    def depth(self) -> int:
        """Codes that one step draws."""
        return self.block_size[2]

    @property
    def summary(self) -> str:
        """See PriorConfig."""
        body, head = self.body.n_layers, self.head.n_layers
        return f"{body} + {head} layers of {self.embed_dim}, {self.body.n_heads} heads"

    @property
    def num_positions(self) -> int:
        """Cache positions that the body needs per row; the last codes are never fed back."""
        return self.prompt_len + self.num_steps - 1

    def row_bytes(self, number_bytes: int) -> int:
        """See PriorConfig."""
        numbers = self.body.n_layers * self.num_positions + self.head.n_layers * self.depth
        return 2 * self.embed_dim * numbers * number_bytes
