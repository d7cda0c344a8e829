"""Which keys the RQ family's official config.yaml files may have.

What stands in for missing ones are the reference's defaults. Only the sections and their types;
what the values mean together is `rq_config`'s. A value typed `Any` is one that the reference
doesn't read either.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

_Share = Annotated[float, Field(ge=0, le=1)]
_Shape = tuple[PositiveInt, PositiveInt, PositiveInt]
_Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A mapping of a config file; keys that nobody knows are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bottleneck(Section):
    """How stage 1 quantises."""

    bottleneck_type: Literal["rq"] = "rq"
    embed_dim: PositiveInt = 64
    n_embed: PositiveInt | list[PositiveInt] = 512
    latent_shape: _Shape
    code_shape: _Shape
    shared_codebook: bool
    decay: _Share | list[_Share] = 0.99
    restart_unused_codes: bool = False
    loss_type: Literal["mse", "l1"] = "l1"
    latent_loss_weight: float = 0.25
    use_padding_idx: Any = None
    masked_dropout: Any = None


class Autoencoder(Section):
    """Stage 1's convolutions; the last four keys are this project's own."""

    double_z: Literal[False]
    z_channels: PositiveInt
    resolution: PositiveInt
    in_channels: PositiveInt
    out_ch: PositiveInt
    ch: PositiveInt
    ch_mult: list[PositiveInt] = [1, 2, 4, 8]
    num_res_blocks: PositiveInt
    attn_resolutions: list[PositiveInt]
    dropout: _Share = 0.0
    resamp_with_conv: Literal[True] = True
    patch_size: PositiveInt = 1
    norm_groups: PositiveInt = 32
    norm: Literal["group", "none"] = "group"
    use_attn: bool = True


class Stage1(Section):
    """The `arch` of stage 1."""

    type: Literal["rq-vae"]
    hparams: Bottleneck
    ddconfig: Autoencoder
    code_hier: Any = None
    ema: Any = None
    checkpointing: Any = None


class Block(Section):
    """A transformer block."""

    n_head: PositiveInt
    embed_dim: PositiveInt | None = None
    mlp_bias: bool = True
    attn_bias: bool = True
    attn_pdrop: _Share = 0.0
    resid_pdrop: _Share = 0.1
    gelu: Literal["v1", "v2"] = "v1"


class Stack(Section):
    """Body or head."""

    n_layer: _Count
    block: Block


class Stage2(Section):
    """The `arch` of stage 2."""

    type: Literal["rq-transformer"]
    vocab_size: PositiveInt | list[PositiveInt] | None = None
    block_size: _Shape
    vocab_size_cond: _Count = 0
    block_size_cond: _Count = 0
    embed_dim: PositiveInt
    input_embed_dim: PositiveInt | None = None
    input_emb_vqvae: bool = False
    head_emb_vqvae: bool = False
    cumsum_depth_ctx: bool = False
    shared_tok_emb: bool = False
    shared_cls_emb: bool = False
    embd_pdrop: _Share = 0.0
    body: Stack
    head: Stack
    ema: Any = None
    ar_hierarchy: Any = None
    use_padding_emb: Any = None
    scaled_head_emb_vqvae: Any = None


class Sampling(Section):
    """How the authors draw: one value for all depths, or a list of one each."""

    temp: Annotated[float, Field(gt=0)] = 1.0
    top_k: PositiveInt | list[PositiveInt] | None = None
    top_p: _Share | list[_Share] | None = None
