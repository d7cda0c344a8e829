"""The RQ family's two official config.yaml files → shapes and sampling.

What a training run wrote beside `arch`, `dataset` and `sampling` is not read; inside `arch` a key
that nobody knows is an error. What is missing takes the reference's defaults. Knows no torch.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from models.configs import PrefixKind
from models.errors import ConfigError
from models.rq_configs import RQStackConfig, RQTransformerConfig, RQVAEConfig

_Share = Annotated[float, Field(ge=0, le=1)]
_Shape = tuple[PositiveInt, PositiveInt, PositiveInt]
_Model = TypeVar("_Model", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Bottleneck(_Section):
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
    use_padding_idx: Any = None  # not read by the reference either, as all with `Any` here
    masked_dropout: Any = None


class _Autoencoder(_Section):
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


class _Stage1(_Section):
    type: Literal["rq-vae"]
    hparams: _Bottleneck
    ddconfig: _Autoencoder
    code_hier: Any = None
    ema: Any = None
    checkpointing: Any = None


class _Block(_Section):
    n_head: PositiveInt
    embed_dim: PositiveInt | None = None
    mlp_bias: bool = True
    attn_bias: bool = True
    attn_pdrop: _Share = 0.0
    resid_pdrop: _Share = 0.1
    gelu: Literal["v1", "v2"] = "v1"


class _Stack(_Section):
    n_layer: Annotated[int, Field(ge=0)]
    block: _Block


class _Stage2(_Section):
    type: Literal["rq-transformer"]
    vocab_size: PositiveInt | list[PositiveInt] | None = None
    block_size: _Shape
    vocab_size_cond: Annotated[int, Field(ge=0)] = 0
    block_size_cond: Annotated[int, Field(ge=0)] = 0
    embed_dim: PositiveInt
    input_embed_dim: PositiveInt | None = None
    input_emb_vqvae: bool = False
    head_emb_vqvae: bool = False
    cumsum_depth_ctx: bool = False
    shared_tok_emb: bool = False
    shared_cls_emb: bool = False
    embd_pdrop: _Share = 0.0
    body: _Stack
    head: _Stack
    ema: Any = None
    ar_hierarchy: Any = None
    use_padding_emb: Any = None
    scaled_head_emb_vqvae: Any = None


def parse_stage1(arch: Any) -> RQVAEConfig:
    """The `arch` section of stage 1.

    Raises:
        ConfigError: naming the key.
    """
    values = _checked(_Stage1, arch, "stage1")
    hparams, ddconfig = values.hparams, values.ddconfig
    depth = hparams.code_shape[2]
    config = RQVAEConfig(
        embed_dim=hparams.embed_dim,
        n_embed=_per_depth(hparams.n_embed, depth, "stage1.hparams.n_embed"),
        latent_shape=hparams.latent_shape,
        code_shape=hparams.code_shape,
        shared_codebook=hparams.shared_codebook,
        decay=_per_depth(hparams.decay, depth, "stage1.hparams.decay"),
        restart_unused_codes=hparams.restart_unused_codes,
        loss_type=hparams.loss_type,
        latent_loss_weight=hparams.latent_loss_weight,
        z_channels=ddconfig.z_channels,
        resolution=ddconfig.resolution,
        in_channels=ddconfig.in_channels,
        out_ch=ddconfig.out_ch,
        ch=ddconfig.ch,
        ch_mult=tuple(ddconfig.ch_mult),
        num_res_blocks=ddconfig.num_res_blocks,
        attn_resolutions=tuple(ddconfig.attn_resolutions),
        dropout=ddconfig.dropout,
    )
    _check_stage1(config)
    return config


def parse_stage2(arch: Any, vocab_size: Any = None) -> RQTransformerConfig:
    """The `arch` section of stage 2; `vocab_size` is the data set's, where the arch has none.

    Raises:
        ConfigError: naming the key.
    """
    values = _checked(_Stage2, {"vocab_size": vocab_size, **_mapping(arch, "stage2")}, "stage2")
    if values.vocab_size is None:
        raise ConfigError("stage2.vocab_size: must be given")
    if not values.input_embed_dim and (values.input_emb_vqvae or values.head_emb_vqvae):
        raise ConfigError("stage2.input_embed_dim: must be given where stage 1's codes are read")
    prefix: PrefixKind = "none" if values.vocab_size_cond <= 1 else "class"
    if values.block_size_cond > 1:
        prefix = "text"
    config = RQTransformerConfig(
        prefix=prefix,
        block_size=values.block_size,
        vocab_sizes=_per_depth(values.vocab_size, values.block_size[2], "stage2.vocab_size"),
        vocab_size_cond=max(values.vocab_size_cond, 1),
        block_size_cond=max(values.block_size_cond, 1),
        embed_dim=values.embed_dim,
        input_embed_dim=values.input_embed_dim or values.embed_dim,
        input_emb_vqvae=values.input_emb_vqvae,
        head_emb_vqvae=values.head_emb_vqvae,
        cumsum_depth_ctx=values.cumsum_depth_ctx,
        shared_tok_emb=values.shared_tok_emb,
        shared_cls_emb=values.shared_cls_emb,
        embd_pdrop=values.embd_pdrop,
        body=_stack(values.body),
        head=_stack(values.head),
    )
    _check_stage2(config, values)
    return config


def check_pair(stage1: RQVAEConfig, stage2: RQTransformerConfig) -> None:
    """Refuse stages that don't belong together.

    Raises:
        ConfigError: naming what differs.
    """
    reads_codebook = stage2.input_emb_vqvae or stage2.head_emb_vqvae
    _keep(
        stage1.code_shape == stage2.block_size,
        f"stage2.block_size: {list(stage2.block_size)} for a stage 1 that makes"
        f" {list(stage1.code_shape)}",
    )
    _keep(
        not reads_codebook or stage1.code_dim == stage2.input_embed_dim,
        f"stage2.input_embed_dim: {stage2.input_embed_dim} for codes of width {stage1.code_dim}",
    )
    _keep(
        all(a >= b for a, b in zip(stage1.n_embed, stage2.vocab_sizes, strict=True)),
        f"stage2.vocab_size: {list(stage2.vocab_sizes)} for codebooks of {list(stage1.n_embed)}",
    )


def stage1_document(config: RQVAEConfig) -> dict[str, Any]:
    """An `arch` section that `parse_stage1` turns back into the config."""
    values = {key: _plain(value) for key, value in asdict(config).items()}
    hparams = {name: values[name] for name in _Bottleneck.model_fields if name in values}
    ddconfig = {name: values[name] for name in _Autoencoder.model_fields if name in values}
    return {"type": "rq-vae", "hparams": hparams, "ddconfig": {"double_z": False, **ddconfig}}


def stage2_document(config: RQTransformerConfig) -> dict[str, Any]:
    """An `arch` section that `parse_stage2` turns back into the config."""
    values = {key: _plain(value) for key, value in asdict(config).items()}
    shape = {name: values[name] for name in _Stage2.model_fields if name in values}
    stacks = {name: _stack_document(getattr(config, name)) for name in ("body", "head")}
    sizes = list(config.vocab_sizes)
    return {"type": "rq-transformer", **shape, "vocab_size": sizes, **stacks}


def _stack(values: _Stack) -> RQStackConfig:
    block = values.block
    return RQStackConfig(
        n_layers=values.n_layer,
        n_heads=block.n_head,
        mlp_bias=block.mlp_bias,
        attn_bias=block.attn_bias,
        gelu_use_approx=block.gelu == "v2",
        attn_pdrop=block.attn_pdrop,
        resid_pdrop=block.resid_pdrop,
    )


def _stack_document(config: RQStackConfig) -> dict[str, Any]:
    block = asdict(config)
    n_layer, n_head = block.pop("n_layers"), block.pop("n_heads")
    gelu = "v2" if block.pop("gelu_use_approx") else "v1"
    return {"n_layer": n_layer, "block": {"n_head": n_head, "gelu": gelu, **block}}


def _check_stage1(config: RQVAEConfig) -> None:
    (height, width, channels), (rows, columns, _) = config.latent_shape, config.code_shape
    side = config.resolution >> (len(config.ch_mult) - 1)
    _keep(
        height == width == side and config.resolution % side == 0,
        f"stage1.hparams.latent_shape: {height}×{width} for an encoder that makes {side}×{side}",
    )
    _keep(channels == config.embed_dim, "stage1.hparams.latent_shape: must end with embed_dim")
    _keep(
        height % rows == 0 and width % columns == 0,
        f"stage1.hparams.code_shape: {rows}×{columns} does not divide {height}×{width}",
    )
    _keep(
        not config.shared_codebook or len(set(config.n_embed)) == 1,
        "stage1.hparams.n_embed: one size where shared_codebook is true",
    )
    _keep(
        all(config.ch * mult % 32 == 0 for mult in (1, *config.ch_mult)),
        "stage1.ddconfig.ch: widths must be multiples of 32",
    )


def _check_stage2(config: RQTransformerConfig, values: _Stage2) -> None:
    is_even = len(set(config.vocab_sizes)) == 1
    _keep(
        config.prefix != "text" or values.vocab_size_cond > 1,
        "stage2.vocab_size_cond: must be given where block_size_cond is more than 1",
    )
    _keep(
        is_even or not (config.shared_tok_emb or config.shared_cls_emb),
        "stage2.vocab_size: one size where shared_tok_emb or shared_cls_emb is true",
    )
    for name, stack in (("body", values.body), ("head", values.head)):
        _keep(
            stack.block.embed_dim in (None, config.embed_dim),
            f"stage2.{name}.block.embed_dim: must equal embed_dim",
        )
        _keep(
            config.embed_dim % stack.block.n_head == 0,
            f"stage2.{name}.block.n_head: must divide embed_dim",
        )


def _checked(model: type[_Model], values: Any, where: str) -> _Model:
    try:
        return model.model_validate(_mapping(values, where))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (where, *first["loc"]))
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"unknown key: {path}") from None
        raise ConfigError(f"{path}: {first['msg']}") from None


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must be a mapping")
    return values


_Number = TypeVar("_Number", int, float)


def _per_depth(value: _Number | list[_Number], depth: int, where: str) -> tuple[_Number, ...]:
    if not isinstance(value, list):
        return (value,) * depth
    _keep(len(value) == depth, f"{where}: {len(value)} values for {depth} depths")
    return tuple(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _keep(is_kept: bool, message: str) -> None:
    if not is_kept:
        raise ConfigError(message)
