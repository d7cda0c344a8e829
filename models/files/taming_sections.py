"""Which keys taming-transformers' project.yaml may have, and what stands in for missing ones.

Only the sections that describe a model; what the values mean together is `taming_config`'s. A value
typed `Any` is training's, or one that the reference doesn't read either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from models.configs.numbers import Count, Share, Size


@dataclass(frozen=True, slots=True)
class Net2Net:
    """A transformer beside its stages."""

    transformer_config: Any
    first_stage_config: Any
    cond_stage_config: Any = None
    permuter_config: Any = None
    unconditional: bool = False
    sos_token: Count = 0
    downsample_cond_size: Annotated[int, Ge(-1)] = -1
    pkeep: Any = None
    ckpt_path: Any = None
    ignore_keys: Any = None
    first_stage_key: Any = None
    cond_stage_key: Any = None


@dataclass(frozen=True, slots=True)
class MinGPT:
    """The transformer."""

    vocab_size: Size
    block_size: Size
    n_layer: Size = 12
    n_head: Size = 8
    n_embd: Size = 256
    embd_pdrop: Share = 0.0
    resid_pdrop: Share = 0.0
    attn_pdrop: Share = 0.0
    n_unmasked: Count = 0


@dataclass(frozen=True, slots=True)
class Codec:
    """A VQGAN, with either codebook."""

    ddconfig: Any
    n_embed: Size
    embed_dim: Size
    remap: None = None
    sane_index_shape: Any = None
    lossconfig: Any = None
    ckpt_path: Any = None
    ignore_keys: Any = None
    image_key: Any = None
    colorize_nlabels: Any = None
    monitor: Any = None
    temperature_scheduler_config: Any = None
    kl_weight: Any = None


@dataclass(frozen=True, slots=True)
class Backbone:
    """Its convolutions. The reference lets keys that it doesn't know pass."""

    z_channels: Size
    resolution: Size
    in_channels: Size
    out_ch: Size
    ch: Size
    num_res_blocks: Size
    attn_resolutions: tuple[Size, ...]
    ch_mult: tuple[Size, ...] = (1, 2, 4, 8)
    dropout: Share = 0.0
    double_z: Literal[False] = field(kw_only=True)  # without the key the reference has it true
    resamp_with_conv: bool = True


@dataclass(frozen=True, slots=True)
class Labels:
    """Classes as a condition."""

    n_classes: Size
    quantize_interface: Any = None


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where in a larger picture one stands as a condition."""

    n_embed: Size
    down_factor: Size


@dataclass(frozen=True, slots=True)
class Permuter:
    """Of an order of codes."""

    H: Size
    W: Size
