"""How each family's shape is written down in its section of config.yaml.

A reader and a writer per dataclass; a new family brings its own pair. Readers raise ConfigError,
which names the key. minDALL-E keeps some fields in the section and the others in its `hparams`, and
has keys that no shape needs. Knows no files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from math import isqrt
from typing import Any

from models.configs.codec import CodecConfig
from models.configs.dalle import DalleConfig
from models.configs.hq import HQTransformerConfig, HQVAEConfig, MultiScaleConfig, TwoScalesConfig
from models.configs.no_prior import NoPriorConfig
from models.configs.prior import PrefixKind, PriorConfig
from models.configs.raw_pixels import RawPixelsConfig
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.errors import ConfigError
from models.files import (
    dalle_config,
    hq_codecs,
    hq_prior,
    pixel_config,
    rq_config,
    scales_folder,
)
from models.files.checked import checked
from models.files.sections import Section, check_backbone, flat, plain, require

_VQGAN_OUTER = ("embed_dim", "n_embed")
_TRANSFORMER_OUTER = ("vocab_size_img", "vocab_size_txt", "use_cls_cond")
_ALONE = ("transformer1d", "igpt")  # types of a transformer that may be one of two
_JOINT = ("vocab_size", "block_size", "start", "n_unmasked")  # fields that only a minGPT has


def read_vqgan(section: Section, path: str) -> VQGANConfig:
    """A VQGAN, of type `vqgan`."""
    values, places = flat(section, path, _VQGAN_OUTER)
    require(not values.pop("double_z", False), f"{path}.hparams.double_z: true is not supported")
    config = checked(VQGANConfig, values, path, places)
    check_vqgan(config, f"{path}.hparams")
    return config


def check_vqgan(config: VQGANConfig, path: str) -> None:
    """ConfigError where the numbers of a VQGAN, which stand at `path`, contradict each other."""
    check_backbone(config, path)
    require(
        config.quantizer != "gumbel" or config.z_channels == config.embed_dim,
        f"{path}.z_channels: must equal embed_dim where the quantizer is gumbel",
    )


def write_vqgan(config: VQGANConfig) -> Section:
    """The section that `read_vqgan` reads."""
    values = plain(asdict(config))
    outer = {name: values.pop(name) for name in _VQGAN_OUTER}
    return {"type": "vqgan", **outer, "hparams": {"double_z": False, **values}}


def read_transformer(section: Section, path: str, codec: CodecConfig) -> TransformerConfig:
    """A transformer over codes: `transformer1d` with a text before them, else `igpt`, `mingpt`."""
    values, places = flat(section, path, _TRANSFORMER_OUTER, ("prefix",))
    values.pop("use_head_txt", None)  # the reference never reads it
    n_dense, has_classes = values.pop("n_dense_layers", None), values.pop("use_cls_cond", None)
    if values.get("n_classes", 0) is None:
        del values["n_classes"]
    config = checked(TransformerConfig, values, path, places)
    hparams = f"{path}.hparams"
    require(has_classes in (True, False, None), f"{path}.use_cls_cond: must be true or false")
    require(n_dense in (None, config.n_layers), f"{hparams}.n_dense_layers: must equal n_layers")
    require(config.embed_dim % config.n_heads == 0, f"{hparams}.n_heads: must divide embed_dim")
    _require_codec(config, path, codec)
    kind = section.get("type", "transformer1d")
    others = [name for name in _JOINT if name in values and kind != "mingpt"]
    require(not others, f"unknown key: {', '.join(f'{hparams}.{name}' for name in others)}")
    if kind == "transformer1d":
        require(config.ctx_len_txt > 0, f"{hparams}.ctx_len_txt: must be at least 1")
        return replace(config, n_classes=0)
    require(
        config.n_classes > 0 or not has_classes,
        f"{hparams}.n_classes: needed where use_cls_cond is true",
    )
    prefix: PrefixKind = "class" if has_classes else "none"
    n_classes = config.n_classes if has_classes else 0
    config = replace(config, prefix=prefix, n_classes=n_classes, vocab_size_txt=0, ctx_len_txt=0)
    if kind == "mingpt":
        check_joint(config, hparams)
    return config


def check_joint(config: TransformerConfig, path: str) -> None:
    """ConfigError where the numbers of a minGPT, which stand at `path`, contradict each other."""
    require(config.prompt_len > 0, f"{path}.start: must name at least one token")
    size, needed = config.vocab_size, config.num_positions
    tokens = max(config.n_classes - 1, config.vocab_size_img - 1, *config.start)
    require(
        tokens < size,
        f"{path}.vocab_size: {size} tokens, but codes and conditions go up to {tokens}",
    )
    require(
        needed <= config.block_size,
        f"{path}.block_size: {config.block_size} positions, but a whole picture takes {needed}",
    )
    require(
        config.n_unmasked <= config.prompt_len,
        f"{path}.n_unmasked: {config.n_unmasked}, of {config.prompt_len} before the codes",
    )


def _require_codec(config: TransformerConfig, path: str, codec: CodecConfig) -> None:
    (num_codes, depth), codebook = codec.code_shape, codec.vocab_sizes[0]
    side = isqrt(num_codes)
    grid = f"{side}×{side}" if side**2 == num_codes else f"{num_codes}"
    require(
        (config.ctx_len_img, 1) == (num_codes, depth),
        f"{path}.hparams.ctx_len_img: {config.ctx_len_img} codes for a stage 1 that makes {grid}"
        + (f" of {depth} each" if depth > 1 else ""),
    )
    require(
        config.vocab_size_img <= codebook,
        f"{path}.vocab_size_img: {config.vocab_size_img} for a codebook of {codebook}",
    )


def write_transformer(config: TransformerConfig) -> Section:
    """The section that `read_transformer` reads."""
    values = asdict(config)
    prefix, num_tokens = values.pop("prefix"), values.pop("vocab_size_txt")
    kind, is_text = ("transformer1d" if prefix == "text" else "igpt"), prefix == "text"
    if config.vocab_size:
        kind = "mingpt"
    else:
        values = {name: value for name, value in values.items() if name not in _JOINT}
    out: Section = {"type": kind, "vocab_size_img": values.pop("vocab_size_img")}
    out |= {"vocab_size_txt": num_tokens} if is_text else {"use_cls_cond": prefix == "class"}
    if not is_text:
        del values["ctx_len_txt"]
    if prefix != "class":
        del values["n_classes"]
    return out | {"hparams": {**values, "n_dense_layers": config.n_layers}}


def read_no_prior(_section: Section, _path: str, codec: CodecConfig) -> NoPriorConfig:
    """Nothing, of type `none`: the folder holds a codec alone."""
    return NoPriorConfig.of(codec)


def read_two_scales(section: Section, path: str, codec: CodecConfig) -> TwoScalesConfig:
    """Two transformers, of coarse codes and of finer ones, each described as one alone is."""
    if not isinstance(codec, MultiScaleConfig):
        raise ConfigError(f"{path}.type: two transformers draw the codes of a vqgan2")
    known = {"type", "top", "bottom"}
    unknown = [f"{path}.{key}" for key in section if key not in known]
    require(not unknown, f"unknown key: {', '.join(unknown)}")
    parts = []
    for name, side in zip(("top", "bottom"), codec.sides, strict=True):
        part = section.get(name)
        if not isinstance(part, dict):
            raise ConfigError(f"{path}.{name}: must be a mapping")
        kind = part.get("type", _ALONE[0])
        require(kind in _ALONE, f"{path}.{name}.type: {kind!r}, only {' or '.join(_ALONE)} works")
        grid = VQGANConfig(resolution=side, ch_mult=(1,), n_embed=codec.n_embed)
        parts.append(read_transformer(part, f"{path}.{name}", grid))
    config = TwoScalesConfig(*parts)
    coarse = config.top.num_steps
    require(
        config.bottom.prefix == "text" and config.bottom.ctx_len_txt == coarse,
        f"{path}.bottom.hparams.ctx_len_txt: it must read all {coarse} coarse codes",
    )
    sizes = {config.top.vocab_size_img, config.bottom.vocab_size_img, config.bottom.vocab_size_txt}
    require(len(sizes) == 1, f"{path}.bottom: its codes must be as many as the coarse ones")
    return config


def write_two_scales(config: TwoScalesConfig) -> Section:
    """The section that `read_two_scales` reads."""
    parts = {"top": write_transformer(config.top), "bottom": write_transformer(config.bottom)}
    return {"type": scales_folder.TYPE, **parts}


def written(config: CodecConfig | PriorConfig) -> Section:
    """The section of config.yaml that reads as this shape.

    Raises:
        ConfigError: its family has none.
    """
    if type(config) not in _WRITERS:
        raise ConfigError(f"models of {type(config).__name__} have no config.yaml")
    return _WRITERS[type(config)](config)


# By what `families` registers under a section's type. Any: each takes or makes its own kind.
CODEC_READERS: dict[type[CodecConfig], Callable[[Section, str], Any]] = {
    VQGANConfig: read_vqgan,
    RQVAEConfig: rq_config.read_rq_vae,
    HQVAEConfig: hq_codecs.read_hq_vae,
    MultiScaleConfig: hq_codecs.read_multi_scale,
    RawPixelsConfig: pixel_config.read_raw_pixels,
}
PRIOR_READERS: dict[type[PriorConfig], Callable[[Section, str, CodecConfig], Any]] = {
    TransformerConfig: read_transformer,
    NoPriorConfig: read_no_prior,
    RQTransformerConfig: rq_config.read_rq_transformer,
    DalleConfig: dalle_config.read_dalle,
    HQTransformerConfig: hq_prior.read_hq_transformer,
    TwoScalesConfig: read_two_scales,
    **pixel_config.READERS,
}
# Those whose documents are checked to the last key of training's sections, too.
WITH_TRAINING: tuple[type[PriorConfig], ...] = (TransformerConfig,)
_WRITERS: dict[type[Any], Callable[[Any], Section]] = {
    VQGANConfig: write_vqgan,
    TransformerConfig: write_transformer,
    NoPriorConfig: lambda _config: {"type": "none"},
    RQVAEConfig: rq_config.write_rq_vae,
    RQTransformerConfig: rq_config.write_rq_transformer,
    DalleConfig: dalle_config.write_dalle,
    HQVAEConfig: hq_codecs.write_hq_vae,
    HQTransformerConfig: hq_prior.write_hq_transformer,
    MultiScaleConfig: hq_codecs.write_multi_scale,
    TwoScalesConfig: write_two_scales,
    RawPixelsConfig: pixel_config.write_raw_pixels,
    **dict.fromkeys(pixel_config.READERS, pixel_config.write_prior),
}
