"""The RQ family's two official config.yaml files → shapes and sampling.

What a training run wrote beside `arch`, `dataset` and `sampling` is not read; inside `arch` a key
that nobody knows is an error. What is missing takes the reference's defaults. Knows no torch.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import ValidationError

from models.configs.codec import CodecConfig
from models.configs.preset import SamplingDefaults
from models.configs.prior import PrefixKind
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.configs.transformer import StackConfig
from models.errors import ConfigError
from models.files import rq_sections
from models.files.sections import check_backbone, plain, require

_Model = TypeVar("_Model", bound=rq_sections.Section)
_Number = TypeVar("_Number", int, float)


def read_rq_vae(arch: Any, path: str) -> RQVAEConfig:
    """The `arch` section of stage 1.

    Raises:
        ConfigError: naming the key.
    """
    values = _checked(rq_sections.Stage1, arch, path)
    hparams, ddconfig = values.hparams, values.ddconfig
    depth = hparams.code_shape[2]
    config = RQVAEConfig(
        embed_dim=hparams.embed_dim,
        n_embed=_per_depth(hparams.n_embed, depth, "stage1.hparams.n_embed"),
        latent_shape=hparams.latent_shape,
        grid=hparams.code_shape,
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
        patch_size=ddconfig.patch_size,
        norm_groups=ddconfig.norm_groups,
        norm=ddconfig.norm,
        use_attn=ddconfig.use_attn,
    )
    _check_stage1(config)
    return config


def read_rq_transformer(arch: Any, path: str, codec: CodecConfig) -> RQTransformerConfig:
    """The `arch` section of stage 2, over the codes of `codec`.

    Raises:
        ConfigError: naming the key.
    """
    values = _checked(rq_sections.Stage2, arch, path)
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
        body=_stack(values.body, values.embed_dim),
        head=_stack(values.head, values.embed_dim),
    )
    _check_stage2(config, values)
    _check_pair(codec, config)
    return config


def _check_pair(stage1: CodecConfig, stage2: RQTransformerConfig) -> None:
    """Refuse stages that don't belong together."""
    if not isinstance(stage1, RQVAEConfig):
        raise ConfigError("stage1.type: an RQ-Transformer draws the codes of an RQ-VAE")
    reads_codebook = stage2.input_emb_vqvae or stage2.head_emb_vqvae
    require(
        stage1.grid == stage2.block_size,
        f"stage2.block_size: {list(stage2.block_size)} for a stage 1 that makes"
        f" {list(stage1.grid)}",
    )
    require(
        not reads_codebook or stage1.code_dim == stage2.input_embed_dim,
        f"stage2.input_embed_dim: {stage2.input_embed_dim} for codes of width {stage1.code_dim}",
    )
    require(
        all(a >= b for a, b in zip(stage1.n_embed, stage2.vocab_sizes, strict=True)),
        f"stage2.vocab_size: {list(stage2.vocab_sizes)} for codebooks of {list(stage1.n_embed)}",
    )


def parse_sampling(values: Any, stage2: RQTransformerConfig) -> SamplingDefaults:
    """The authors' sampling block, by their rules: no more than the vocabulary, None is 1.0.

    A list of equal values is that value, a top_k that cuts nothing at any depth is off.

    Raises:
        ConfigError: naming the key.
    """
    given = _checked(rq_sections.Sampling, values, "sampling")
    top_k = _for_each(given.top_k or max(stage2.vocab_sizes), stage2.depth, "sampling.top_k")
    top_p = _for_each(1.0 if given.top_p is None else given.top_p, stage2.depth, "sampling.top_p")
    is_off = all(k >= size for k, size in zip(top_k, stage2.vocab_sizes, strict=True))
    most = max(stage2.vocab_sizes)
    limits = None if is_off else _as_one(tuple(min(k, most) for k in top_k))
    return SamplingDefaults(given.temp, limits, _as_one(top_p))


def write_rq_vae(config: RQVAEConfig) -> dict[str, Any]:
    """An `arch` section that `read_rq_vae` turns back into the config."""
    values = plain(asdict(config))
    values["code_shape"] = values.pop("grid")
    hparams = {name: values[name] for name in rq_sections.Bottleneck.model_fields if name in values}
    ddconfig = {
        name: values[name] for name in rq_sections.Autoencoder.model_fields if name in values
    }
    return {"type": "rq-vae", "hparams": hparams, "ddconfig": {"double_z": False, **ddconfig}}


def write_rq_transformer(config: RQTransformerConfig) -> dict[str, Any]:
    """An `arch` section that `read_rq_transformer` turns back into the config."""
    values = plain(asdict(config))
    shape = {name: values[name] for name in rq_sections.Stage2.model_fields if name in values}
    stacks = {name: _stack_document(getattr(config, name)) for name in ("body", "head")}
    sizes = list(config.vocab_sizes)
    return {"type": "rq-transformer", **shape, "vocab_size": sizes, **stacks}


def _stack(values: rq_sections.Stack, embed_dim: int) -> StackConfig:
    block = values.block
    return StackConfig(
        embed_dim=embed_dim,
        n_layers=values.n_layer,
        n_heads=block.n_head,
        mlp_bias=block.mlp_bias,
        attn_bias=block.attn_bias,
        gelu_use_approx=block.gelu == "v2",
        attn_pdrop=block.attn_pdrop,
        resid_pdrop=block.resid_pdrop,
    )


def _stack_document(config: StackConfig) -> dict[str, Any]:
    block = asdict(config)
    n_layer, n_head = block.pop("n_layers"), block.pop("n_heads")
    gelu = "v2" if block.pop("gelu_use_approx") else "v1"
    return {"n_layer": n_layer, "block": {"n_head": n_head, "gelu": gelu, **block}}


def _check_stage1(config: RQVAEConfig) -> None:
    check_backbone(config.autoencoder, "stage1.ddconfig")
    (height, width, channels), (rows, columns, _) = config.latent_shape, config.grid
    side, halvings = config.autoencoder.grid_size, len(config.ch_mult) - 1
    require(
        height == width == side and config.resolution == side * config.patch_size << halvings,
        f"stage1.hparams.latent_shape: {height}×{width} for an encoder that makes {side}×{side}",
    )
    require(channels == config.embed_dim, "stage1.hparams.latent_shape: must end with embed_dim")
    require(
        height % rows == 0 and width % columns == 0,
        f"stage1.hparams.code_shape: {rows}×{columns} does not divide {height}×{width}",
    )
    require(
        not config.shared_codebook or len(set(config.n_embed)) == 1,
        "stage1.hparams.n_embed: one size where shared_codebook is true",
    )


def _check_stage2(config: RQTransformerConfig, values: rq_sections.Stage2) -> None:
    is_even = len(set(config.vocab_sizes)) == 1
    require(config.body.n_layers > 0, "stage2.body.n_layer: must be at least 1")
    require(
        config.prefix != "text" or values.vocab_size_cond > 1,
        "stage2.vocab_size_cond: must be given where block_size_cond is more than 1",
    )
    require(
        is_even or not (config.shared_tok_emb or config.shared_cls_emb),
        "stage2.vocab_size: one size where shared_tok_emb or shared_cls_emb is true",
    )
    for name, stack in (("body", values.body), ("head", values.head)):
        require(
            stack.block.embed_dim in (None, config.embed_dim),
            f"stage2.{name}.block.embed_dim: must equal embed_dim",
        )
        require(
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


def _per_depth(value: _Number | list[_Number], depth: int, where: str) -> tuple[_Number, ...]:
    if not isinstance(value, list):
        return (value,) * depth
    require(len(value) == depth, f"{where}: {len(value)} values for {depth} depths")
    return tuple(value)


def _for_each(value: _Number | list[_Number], depth: int, where: str) -> tuple[_Number, ...]:
    """As `_per_depth`, but a list of one is for all."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return _per_depth(value, depth, where)


def _as_one(values: tuple[_Number, ...]) -> _Number | tuple[_Number, ...]:
    return values[0] if len(set(values)) == 1 else values
