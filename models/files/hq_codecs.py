"""The HQ family's codecs: their section of config.yaml ↔ shapes.

An unknown key is an error, what is missing takes the reference's defaults. Knows no torch and no
files.
"""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from typing import Any, get_args

from models.configs.backbone import BackboneConfig
from models.configs.hq import HQVAEConfig, MultiScaleConfig, Resize, Smoothing
from models.errors import ConfigError
from models.files import hq_sections
from models.files.checked import checked
from models.files.hq_sections import one, pair
from models.files.sections import Section, check_backbone, plain, require


def read_hq_vae(section: Section, path: str) -> HQVAEConfig:
    """Stage 1, of type `simrqgan2` (two levels side by side) or `hqvae` (any number, summed).

    Raises:
        ConfigError: naming the key.
    """
    given = checked(hq_sections.Codec, section, path)
    more = checked(hq_sections.CodecMore, given.hparams_aux or {}, f"{path}.hparams_aux")
    resize, ratio = _resize(more.upsample, f"{path}.hparams_aux.upsample")
    is_pair = given.type == "simrqgan2"
    sizes = pair(given.n_embed, f"{path}.n_embed") if is_pair else given.n_embed_levels
    config = HQVAEConfig(
        **_backbone(given.hparams or {}, f"{path}.hparams"),
        embed_dim=given.embed_dim,
        n_embed=sizes,
        ratio=ratio,
        resize=resize,
        join="concat" if is_pair else "sum",
        has_shared_codebook=bool(more.shared_codebook),
        ema_update=given.ema_update,
    )
    check_backbone(config, f"{path}.hparams")
    _check_levels(config, more, path)
    return config


def _backbone(hparams: Any, path: str) -> dict[str, Any]:
    require(isinstance(hparams, dict), f"{path}: must be a mapping")
    values = dict(hparams)
    require(not values.pop("double_z", False), f"{path}.double_z: true is not supported")
    return asdict(checked(BackboneConfig, values, path))


def _resize(upsample: str | None, path: str) -> tuple[Resize, int]:
    """`pixelshuffle4` → how maps change their size, and by how much a side."""
    found = re.fullmatch(r"(pixelshuffle|nearest|conv)(\d*)", upsample or "")
    if not found or (found[1] == "conv" and not found[2]) or found[2] in ("0", "1"):
        raise ConfigError(f"{path}: {upsample!r} is not supported, only pixelshuffle2 and its like")
    kind: Resize = next(kind for kind in get_args(Resize) if kind == found[1])
    return kind, int(found[2] or 2)


def _check_levels(config: HQVAEConfig, more: hq_sections.CodecMore, path: str) -> None:
    num_levels, finest = len(config.n_embed), config.grid_size
    require(
        more.code_levels in (None, num_levels),
        f"{path}.hparams_aux.code_levels: {more.code_levels} for {num_levels} codebooks",
    )
    require(num_levels > 1, f"{path}.n_embed_levels: at least two sizes")
    require(
        config.sides[0] > 0 and config.sides[0] * config.ratio ** (num_levels - 1) == finest,
        f"{path}.hparams_aux.upsample: {num_levels} levels don't divide {finest} positions a side",
    )
    require(
        not config.has_shared_codebook
        or len(set(zip(config.n_embed, config.dims, strict=True))) == 1,
        f"{path}.hparams_aux.shared_codebook: the levels' codes differ in number or width",
    )


def write_hq_vae(config: HQVAEConfig) -> Section:
    """The section that `read_hq_vae` reads."""
    is_pair = config.join == "concat"
    require(
        not is_pair or len(config.n_embed) == 2, "stage1.n_embed: more than two levels are summed"
    )
    sizes = {"n_embed": one(config.n_embed)} if is_pair else {"n_embed_levels": [*config.n_embed]}
    return {
        "type": "simrqgan2" if is_pair else "hqvae",
        "embed_dim": config.embed_dim,
        **sizes,
        "ema_update": config.ema_update,
        "hparams": _written_backbone(config),
        "hparams_aux": {
            "upsample": f"{config.resize}{config.ratio}",
            "shared_codebook": config.has_shared_codebook,
            "decoding_type": config.join,
        },
    }


def read_multi_scale(section: Section, path: str) -> MultiScaleConfig:
    """Stage 1 of type `vqgan2`.

    Raises:
        ConfigError: naming the key.
    """
    given = checked(hq_sections.Codec, section, path)
    more = checked(hq_sections.CodecMore, given.hparams_aux or {}, f"{path}.hparams_aux")
    upsample = more.upsample or "nearest"
    require(
        upsample in get_args(Smoothing),
        f"{path}.hparams_aux.upsample: {upsample!r} is not supported, only nearest or deconv2d",
    )
    if not isinstance(given.n_embed, int):
        raise ConfigError(f"{path}.n_embed: one size for both grids")
    config = MultiScaleConfig(
        **_backbone(given.hparams or {}, f"{path}.hparams"),
        embed_dim=given.embed_dim,
        n_embed=given.n_embed,
        upsample=next(kind for kind in get_args(Smoothing) if kind == upsample),
        join=more.decoding_type,
        ema_update=given.ema_update,
    )
    check_backbone(config, f"{path}.hparams")
    widths = [config.ch * mult for mult in config.ch_mult]
    require(
        len(widths) > 1 and widths[-2] == config.z_channels,
        f"{path}.hparams.z_channels: {config.z_channels} must be the width before the last level",
    )
    return config


def write_multi_scale(config: MultiScaleConfig) -> Section:
    """The section that `read_multi_scale` reads."""
    return {
        "type": "vqgan2",
        "embed_dim": config.embed_dim,
        "n_embed": config.n_embed,
        "ema_update": config.ema_update,
        "hparams": _written_backbone(config),
        "hparams_aux": {"upsample": config.upsample, "decoding_type": config.join},
    }


def _written_backbone(config: BackboneConfig) -> Section:
    names = [field.name for field in fields(BackboneConfig)]
    return {"double_z": False, **plain({name: getattr(config, name) for name in names})}
