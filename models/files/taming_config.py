"""taming-transformers' `model:` section → shapes of both stages.

Each object in it is a class's dotted name with its parameters; of the name only the last part is
looked at, since projects carry the code along under names of their own. Knows no torch and no
files. Class, start or coordinates: all become tokens before the codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from models.configs.prior import PrefixKind
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import CodeOrder, VQGANConfig
from models.errors import ConfigError
from models.files import taming_sections as sections
from models.files.checked import checked
from models.files.layouts import check_joint, check_vqgan
from models.files.sections import require
from models.presets.taming import coordinate_tokens
from models.stage1.orders import allowed_sides

_PICTURE = "a picture as the condition (depth, segmentation, another VQGAN) is not supported"
_UNCONDITIONAL, _FIRST_STAGE = "__is_unconditional__", "__is_first_stage__"
_PERMUTER = "model.params.permuter_config"
_CODECS = ("VQModel", "GumbelVQ")
_ORDERS: dict[str, CodeOrder] = {
    "Identity": "raster",
    "Subsample": "subsample",
    "ZCurve": "zcurve",
    "SpiralOut": "spiral-out",
    "SpiralIn": "spiral-in",
    "Random": "random",
    "AlternateParsing": "alternate",
}


def is_codec(model: Any) -> bool:
    """Whether the section describes stage 1 alone."""
    return isinstance(model, dict) and _class(model, "model") in _CODECS


def read_codec(section: Any, path: str, order: CodeOrder = "raster") -> VQGANConfig:
    """Stage 1 out of the object that stands at `path`.

    Raises:
        ConfigError: naming the key.
    """
    kind, params = _object(section, path, _CODECS)
    values = checked(sections.Codec, params, f"{path}.params")
    where = f"{path}.params.ddconfig"
    known = {field.name for field in fields(sections.Backbone)}
    swallowed = values.ddconfig
    if isinstance(swallowed, dict):
        swallowed = {key: value for key, value in swallowed.items() if key in known}
    backbone = asdict(checked(sections.Backbone, swallowed, where))
    del backbone["double_z"]
    config = VQGANConfig(
        n_embed=values.n_embed,
        embed_dim=values.embed_dim,
        quantizer="gumbel" if kind == "GumbelVQ" else "nearest",
        order=order,
        pdrop=backbone.pop("dropout"),
        **backbone,
    )
    check_vqgan(config, where)
    return config


def read_model(model: Any) -> tuple[VQGANConfig, TransformerConfig]:
    """Both stages out of a transformer's section.

    Raises:
        ConfigError: naming the key.
    """
    _, params = _object(model, "model", ("Net2NetTransformer",))
    values = checked(sections.Net2Net, params, "model.params")
    path = "model.params.first_stage_config"
    codec = read_codec(values.first_stage_config, path, _order(values.permuter_config))
    side = codec.grid_size
    require(
        side in allowed_sides(codec.order, side), f"{_PERMUTER}: no such order of {side}×{side}"
    )
    return codec, _prior(values, codec)


def _order(section: Any) -> CodeOrder:
    if section is None:
        return "raster"
    kind, params = _object(section, _PERMUTER, tuple(_ORDERS))
    if kind != "Identity":
        size = checked(sections.Permuter, params, f"{_PERMUTER}.params")
        require(size.H == size.W, f"{_PERMUTER}: {size.H}×{size.W} is no square")
    return _ORDERS[kind]


def _prior(values: sections.Net2Net, codec: VQGANConfig) -> TransformerConfig:
    path = "model.params.transformer_config"
    _, params = _object(values.transformer_config, path, ("GPT",))
    gpt = checked(sections.MinGPT, params, f"{path}.params")
    prefix, n_classes, start = _condition(values, codec)
    config = TransformerConfig(
        prefix=prefix,
        embed_dim=gpt.n_embd,
        n_layers=gpt.n_layer,
        n_heads=gpt.n_head,
        vocab_size_img=min(gpt.vocab_size, codec.n_embed),
        ctx_len_img=codec.code_shape[0],
        vocab_size_txt=0,
        ctx_len_txt=0,
        n_classes=n_classes,
        vocab_size=gpt.vocab_size,
        block_size=gpt.block_size,
        start=start,
        n_unmasked=gpt.n_unmasked,
        embd_pdrop=gpt.embd_pdrop,
        resid_pdrop=gpt.resid_pdrop,
        attn_pdrop=gpt.attn_pdrop,
    )
    check_joint(config, f"{path}.params")
    require(gpt.n_embd % gpt.n_head == 0, f"{path}.params.n_head: must divide n_embd")
    return config


def _condition(
    values: sections.Net2Net, codec: VQGANConfig
) -> tuple[PrefixKind, int, tuple[int, ...]]:
    """What stands before the codes: its kind, how many classes, the tokens where it is nothing."""
    section, path = values.cond_stage_config, "model.params.cond_stage_config"
    if values.unconditional or section == _UNCONDITIONAL:
        return "none", 0, (values.sos_token,)
    require(section != _FIRST_STAGE, f"{path}: {_PICTURE}")
    kind, params = _object(section, path, ("Labelator", "CoordStage", *_CODECS, "DummyCondStage"))
    if kind == "Labelator":
        labels = checked(sections.Labels, params, f"{path}.params")
        return "class", labels.n_classes, (0,)
    require(kind not in _CODECS, f"{path}: {_PICTURE}")
    require(kind == "CoordStage", f"{path}: boxes in a scene as the condition are not supported")
    require(values.downsample_cond_size == -1, "model.params.downsample_cond_size: only -1 works")
    stage = checked(sections.Coordinates, params, f"{path}.params")
    require(
        stage.down_factor <= codec.resolution,
        f"{path}.params.down_factor: {stage.down_factor} of {codec.resolution} pixels a side",
    )
    return "none", 0, coordinate_tokens(codec.resolution, stage.down_factor, stage.n_embed)


def _object(section: Any, path: str, classes: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The class and the parameters of an object, which must be one of these classes."""
    if not isinstance(section, Mapping):
        raise ConfigError(f"{path}: must be a mapping with target and params")
    kind = _class(section, path)
    require(kind in classes, f"{path}.target: {kind} is not supported, only {' or '.join(classes)}")
    params = section.get("params")
    return kind, {} if params is None else params


def _class(section: Mapping[str, Any], path: str) -> str:
    target = section.get("target")
    if not isinstance(target, str):
        raise ConfigError(f"{path}.target: must be the name of a class, not {target!r}")
    return target.rpartition(".")[2]
