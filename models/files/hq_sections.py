"""Which keys the HQ family's sections of config.yaml may have, and the reference's defaults.

Only the sections and their types; what the values mean together is the affair of `hq_codecs` and
`hq_prior`. A value typed `Any` is one that the reference doesn't read, or that is training's alone.
Where the two levels of our own models differ in size, a list of sizes stands in place of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from models.configs.numbers import Amount, Count, Share, Size
from models.files.sections import require

Sizes = Size | tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Codec:
    """Stage 1; its `hparams` are a `BackboneConfig`."""

    type: str
    embed_dim: Size = 256
    n_embed: Sizes = 16384
    n_embed_levels: tuple[Size, ...] = (8192, 8192, 8192)
    ema_update: bool = False
    hparams: Any = None
    hparams_aux: Any = None


@dataclass(frozen=True, slots=True)
class CodecMore:
    """What stage 1 calls `hparams_aux`."""

    upsample: str | None = None
    shared_codebook: bool | None = None
    decoding_type: Literal["concat", "sum"] = "concat"
    code_levels: Size | None = None
    bottom_start: Any = None
    restart_unused_codes: Any = None


@dataclass(frozen=True, slots=True)
class Prior:
    """Stage 2."""

    type: str
    vocab_size_txt: Count = 16384
    vocab_size_img: Sizes = 16384
    vocab_sizes_img: tuple[Size, ...] = (8192, 8192, 8192)
    decoding_type: str | None = None
    ratio_bot2top: Size = 4
    use_cls_cond: bool | None = None
    use_txt_cond: bool | None = None
    weight_bottom: Amount | None = 4.0
    weight_txt: Amount | None = None
    weight_img: Amount | None = None
    temp_soft_labels: Amount | None = None
    hparams: Any = None
    hparams_dec: Any = None
    hparams_enc: Any = None
    use_pretrained: Any = None
    gamma_focal_loss: Any = None
    use_l2norm_logits: Any = None


@dataclass(frozen=True, slots=True)
class Stack:
    """Stage 2's `hparams`, of the body and, as `hparams_dec`, of the head."""

    embed_dim: Size = 1536
    n_layers: Count = 42
    n_heads: Size = 24
    n_dense_layers: Any = None
    ctx_len_img: Size = 256
    ctx_len_txt: Count = 64
    embd_pdrop: Share = 0.0
    resid_pdrop: Share = 0.0
    attn_pdrop: Share = 0.0
    mlp_bias: bool = True
    attn_bias: bool = True
    gelu_use_approx: bool = False
    n_classes: Count | None = None
    embedding_type: str | None = None
    position_embedding: Literal["1d", "2d"] = "1d"
    ctx_len: Any = None
    use_head_txt: Any = None
    causal_attn: Any = None
    bottom_head_type: Any = None
    use_random_order: Any = None
    rate_random_order: Any = None


def pair(sizes: Sizes, path: str) -> tuple[int, ...]:
    """One size for both levels, or one of each."""
    pair = (sizes, sizes) if isinstance(sizes, int) else sizes
    require(len(pair) == 2, f"{path}: {len(pair)} sizes for two levels")
    return pair


def one(sizes: tuple[int, ...]) -> int | list[int]:
    """What `pair` reads as these."""
    return sizes[0] if len(set(sizes)) == 1 else list(sizes)
