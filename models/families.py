"""The register of families: the only file that names models' classes.

A family is an entry in `CODECS`, `PRIORS` or `UPSAMPLERS` under the `type` that config.yaml calls
it by: the dataclass of its shape, how it is built, its names in upstream's files, what recorded
sets hold of it. Everything else asks here with a config in hand and works with the protocols; a new
family is its configs, its model files and one entry. Reads no files, knows no loop and no recipe.

The way of a picture: prompt → `Prior.prefill` → the loop (`drawing`) → `Codec.pixels` → ranker, all
joined in `pipeline`. An upsampler's place is behind the ranker: what is kept gets finer codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from models.configs.codec import CodecConfig
from models.configs.dalle import DalleConfig
from models.configs.enhancement import UpsamplerConfig
from models.configs.hq import (
    HQ_TYPES,
    HQTransformerConfig,
    HQVAEConfig,
    MultiScaleConfig,
    TwoScalesConfig,
)
from models.configs.no_prior import NoPriorConfig
from models.configs.pixels import (
    GatedPixelCNNConfig,
    ImageTransformerConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
)
from models.configs.prior import PriorConfig
from models.configs.raw_pixels import RawPixelsConfig
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.configs.transformer import TransformerConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.configs.vqgan import VQGANConfig
from models.enhance.cell_upsampler import CellUpsampler
from models.enhance.upsampler import Upsampler
from models.errors import ConfigError, Shape
from models.stage1 import hq_vae, multi_scale
from models.stage1.codec import Codec
from models.stage1.hq_vae import HQVAE
from models.stage1.multi_scale import MultiScaleVQ
from models.stage1.raw_pixels import RawPixels
from models.stage1.rq_vae import RQVAE
from models.stage1.vqgan import VQGAN
from models.stage2 import hq_transformer
from models.stage2.dalle import Dalle
from models.stage2.gated_pixel_cnn import GatedPixelCNN
from models.stage2.hq_transformer import HQTransformer
from models.stage2.image_transformer import ImageTransformer
from models.stage2.pixel_cnn import PixelCNN
from models.stage2.pixel_cnn_pp import PixelCNNPP
from models.stage2.prior import Prior
from models.stage2.rq_transformer import RQTransformer
from models.stage2.transformer import Transformer
from models.stage2.two_scales import TwoScales
from models.upstream import dalle_keys, recorded_sets
from models.upstream import names as upstream_names

_Family = TypeVar("_Family", "CodecFamily", "PriorFamily", "CodecFamily | PriorFamily")


@dataclass(frozen=True, slots=True)
class CodecFamily:
    """A kind of stage 1. Any: each function takes its own config and module."""

    config: type[CodecConfig]
    build: Callable[[Any], nn.Module]  # a `Codec`, its weights fresh
    upstream: Callable[[str, Shape, Any], dict[str, Shape]] = upstream_names.own  # see PriorFamily
    unread: Callable[[Any], str] = lambda _config: ""  # see PriorFamily


@dataclass(frozen=True, slots=True)
class PriorFamily:
    """A kind of stage 2. Any: each function takes its own config and module.

    `build` also gets the picture's codec, for priors that read its codebook: they share its
    tensors and don't register them as their own. `upstream` tells which keys of the official
    files, of which shapes, make up one of our tensors when they are joined along the first axis,
    `rows` which of the joined rows are ours, where that is not all of them, and `unread` is a
    pattern of keys that may stand beside them. `recorded` names the checks of
    `verify` that a whole set of recorded numbers passes. Children in `training_only` are never read
    while drawing.
    """

    config: type[PriorConfig]
    build: Callable[[Any, nn.Module], nn.Module]  # a `Prior`, its weights fresh
    upstream: Callable[[str, Shape, Any], dict[str, Shape]] = upstream_names.own
    rows: Callable[[str, Any], slice] = lambda _name, _config: slice(None)
    recorded: Callable[[Any], frozenset[str]] = lambda _config: frozenset()
    training_only: tuple[str, ...] = ()
    unread: Callable[[Any], str] = lambda _config: ""
    closed_nucleus: Callable[[Any], bool] = lambda _config: False  # how top_p cuts, see `Filters`


def _without_codec(build: Callable[[Any], nn.Module]) -> Callable[[Any, nn.Module], nn.Module]:
    return lambda config, _codec: build(config)


_TRANSFORMER = PriorFamily(
    config=TransformerConfig,
    build=_without_codec(Transformer),
    upstream=upstream_names.of_transformer,
    recorded=recorded_sets.of_transformer,
    training_only=("head_txt",),
    closed_nucleus=lambda config: config.vocab_size > 0,
)


def _rq_transformer(config: RQTransformerConfig, codec: nn.Module) -> RQTransformer:
    prior = RQTransformer(config)
    if isinstance(codec, RQVAE):
        prior.share(codec.quantizer.vector)
    return prior


def _no_prior(_config: NoPriorConfig, _codec: nn.Module) -> nn.Module:
    raise ConfigError("there is no stage 2: the folder holds a codec alone")


def _hq_vae_names(name: str, shape: Shape, config: HQVAEConfig) -> dict[str, Shape]:
    return {hq_vae.official_name(name, config): shape}


def _hq_names(name: str, shape: Shape, config: HQTransformerConfig) -> dict[str, Shape]:
    theirs = hq_transformer.official_name(name, config)
    if name == "sos.weight" and config.prefix == "none":
        return {"sos": (1, *shape)}
    return upstream_names.split_qkv(theirs, shape, config)


def _multi_scale_names(name: str, shape: Shape, config: MultiScaleConfig) -> dict[str, Shape]:
    return {multi_scale.official_name(name, config): shape}


_HQ_VAE = CodecFamily(HQVAEConfig, HQVAE, _hq_vae_names, upstream_names.unread_of_hq_vae)
_HQ_TRANSFORMER = PriorFamily(
    config=HQTransformerConfig,
    build=_without_codec(HQTransformer),
    upstream=_hq_names,
    recorded=recorded_sets.of_hq,
    training_only=("head_txt", "ln_txt"),
    unread=hq_transformer.unread_names,
)

CODECS: dict[str, CodecFamily] = {
    "vqgan": CodecFamily(VQGANConfig, VQGAN, upstream=upstream_names.of_vqgan),
    "rq-vae": CodecFamily(RQVAEConfig, RQVAE, unread=upstream_names.unread_of_rq_vae),
    "simrqgan2": _HQ_VAE,
    "hqvae": _HQ_VAE,
    "vqgan2": CodecFamily(
        MultiScaleConfig, MultiScaleVQ, _multi_scale_names, lambda _config: upstream_names.AVERAGES
    ),
    "raw-pixels": CodecFamily(RawPixelsConfig, RawPixels),
}
PRIORS: dict[str, PriorFamily] = {
    "transformer1d": _TRANSFORMER,
    "igpt": _TRANSFORMER,
    "mingpt": _TRANSFORMER,
    "rq-transformer": PriorFamily(
        config=RQTransformerConfig,
        build=_rq_transformer,
        upstream=upstream_names.split_qkv,
        recorded=recorded_sets.of_rq,
        training_only=("cond_classifier",),
        unread=lambda _config: r"tok_emb\.offsets",  # they follow from the vocabularies
    ),
    "dalle": PriorFamily(
        config=DalleConfig,
        build=_without_codec(Dalle),
        upstream=dalle_keys.upstream_names,
        rows=dalle_keys.upstream_rows,
        recorded=recorded_sets.of_dalle,
        training_only=("head_txt",),
        unread=lambda _config: dalle_keys.UNREAD,
    ),
    "none": PriorFamily(NoPriorConfig, _no_prior, recorded=lambda _config: recorded_sets.OF_CODEC),
    **dict.fromkeys(HQ_TYPES, _HQ_TRANSFORMER),
    "two-scales": PriorFamily(
        config=TwoScalesConfig,
        build=_without_codec(TwoScales),
        upstream=upstream_names.of_two_scales,
        recorded=recorded_sets.of_two_scales,
    ),
    "pixel-cnn": PriorFamily(PixelCNNConfig, _without_codec(PixelCNN)),
    "gated-pixel-cnn": PriorFamily(GatedPixelCNNConfig, _without_codec(GatedPixelCNN)),
    "pixel-cnn-pp": PriorFamily(PixelCNNPPConfig, _without_codec(PixelCNNPP)),
    "image-transformer": PriorFamily(ImageTransformerConfig, _without_codec(ImageTransformer)),
}


@dataclass(frozen=True, slots=True)
class UpsamplerFamily:
    """A kind of upsampler. Any: `build` takes its own config."""

    config: type[UpsamplerConfig]
    build: Callable[[Any], nn.Module]  # an `Upsampler`, its weights fresh


UPSAMPLERS = {"cells": UpsamplerFamily(CellUpsamplerConfig, CellUpsampler)}


def _of_kind(families: Iterable[_Family], config: CodecConfig | PriorConfig) -> _Family:
    for family in families:
        if isinstance(config, family.config):
            return family
    raise TypeError(f"no family has a {type(config).__name__}")


def prior_family(config: PriorConfig) -> PriorFamily:
    """The family whose shapes are of this kind."""
    return _of_kind(PRIORS.values(), config)


def build_codec(config: CodecConfig) -> nn.Module:
    """A codec of this shape with fresh weights; see `as_codec`."""
    return _of_kind(CODECS.values(), config).build(config)


def build_prior(config: PriorConfig, codec: nn.Module) -> nn.Module:
    """A prior of this shape with fresh weights, over the codes of `codec`; see `as_prior`."""
    return prior_family(config).build(config, codec)


def build_upsampler(config: UpsamplerConfig) -> nn.Module:
    """An upsampler of this shape with fresh weights; see `as_upsampler`."""
    return UPSAMPLERS[upsampler_type(config)].build(config)


def upsampler_type(config: UpsamplerConfig) -> str:
    """What config.yaml calls upsamplers of this kind."""
    return next(name for name, kind in UPSAMPLERS.items() if isinstance(config, kind.config))


def as_upsampler(module: nn.Module) -> Upsampler:
    """A module that a family built, as what it is; TypeError for one of another kind."""
    if not isinstance(module, Upsampler):
        raise TypeError(f"{type(module).__name__} is no upsampler")
    return module


def as_codec(module: nn.Module) -> Codec:
    """A module that a family built, as what it is; TypeError for one of another kind."""
    if not isinstance(module, Codec):
        raise TypeError(f"{type(module).__name__} is no codec")
    return module


def as_prior(module: nn.Module) -> Prior:
    """A module that a family built, as what it is; TypeError for one of another kind."""
    if not isinstance(module, Prior):
        raise TypeError(f"{type(module).__name__} is no prior")
    return module


def upstream_shapes(
    config: CodecConfig | PriorConfig, needed: Mapping[str, Shape]
) -> dict[str, Shape]:
    """Our names and shapes of a stage's tensors → those of the official file."""
    family = _family(config)
    out: dict[str, Shape] = {}
    for name, shape in needed.items():
        out |= family.upstream(name, shape, config)
    return out


def upstream_rows(config: CodecConfig | PriorConfig, name: str) -> slice:
    """Which rows of the tensors behind `upstream_shapes`, joined, are one of ours."""
    family = _family(config)
    return family.rows(name, config) if isinstance(family, PriorFamily) else slice(None)


def unread_keys(config: CodecConfig | PriorConfig) -> str:
    """A pattern of what a stage's official file may hold beside `upstream_shapes`."""
    return _family(config).unread(config)


def _family(config: CodecConfig | PriorConfig) -> CodecFamily | PriorFamily:
    families: list[CodecFamily | PriorFamily] = [*CODECS.values(), *PRIORS.values()]
    return _of_kind(families, config)
