"""config.yaml of a checkpoint folder ↔ `Preset`.

The official files leave most keys out; what is missing takes the official defaults, and a key that
nobody knows is an error. Our own optional keys are `name`, `description`, `licence`, `clip`,
`sampling`, and `patch_size` and `norm_groups` in stage1.hparams. Knows no torch.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from models.configs import (
    ClipConfig,
    PrefixKind,
    Preset,
    SamplingDefaults,
    TransformerConfig,
    VQGANConfig,
)
from models.drawing.sampling import InvalidSamplingError, RowParams
from models.errors import ConfigError, MissingFileError
from models.files import rq_folder
from models.files.config_schema import check
from models.presets import PRESETS
from models.rq_configs import RQTransformerConfig, RQVAEConfig

CONFIG_NAME = "config.yaml"
_CODEC_KEYS = ("embed_dim", "n_embed")
_FEATURE_KEYS = ("vocab_size_img", "vocab_size_txt")
_TYPES: dict[PrefixKind, str] = {"text": "transformer1d", "class": "igpt", "none": "igpt"}


def read(folder: Path) -> Preset:
    """Read the folder's config.yaml.

    Raises:
        MissingFileError: there is none.
        ConfigError: naming the file and the key.
    """
    path = folder / CONFIG_NAME
    if rq_folder.is_official(folder) and not path.exists():
        return rq_folder.read_official(folder)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingFileError(f"{folder} holds no {CONFIG_NAME}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error}") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    try:
        return parse(document or {}, folder)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(document: Any, folder: Path) -> Preset:
    """Check a parsed document and build the preset; `folder` names it where it has no name.

    Raises:
        ConfigError: unknown key, wrong type, or values that contradict each other.
    """
    if rq_folder.is_document(document):
        return rq_folder.parse(document, folder)
    values = check(document)
    stage1, stage2 = _stage1(values["stage1"]), _stage2(values["stage2"])
    _check_consistency(values, stage1, stage2)
    like = _known_preset(stage1, stage2)
    if like and like.clip and not (folder / like.clip.weights).is_file():
        like = replace(like, clip=None)
    clip, sampling = values.get("clip"), values.get("sampling")
    return Preset(
        name=values.get("name") or (like.name if like else folder.resolve().name),
        description=values.get("description") or (like.description if like else ""),
        licence=values.get("licence") or (like.licence if like else "unknown"),
        stage1=stage1,
        stage2=stage2,
        clip=ClipConfig(**clip) if clip else (like.clip if like else None),
        sampling=_sampling(sampling, stage2),
    )


def write(folder: Path, preset: Preset) -> None:
    """Write a config.yaml that `read` turns back into `preset` (but for where its weights lie)."""
    text = yaml.safe_dump(document(preset), sort_keys=False, allow_unicode=True)
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")


def document(preset: Preset) -> dict[str, Any]:
    """The preset in the layout of the official files, with our own keys beside theirs."""
    names = {"name": preset.name, "description": preset.description, "licence": preset.licence}
    stage1, stage2 = preset.stage1, preset.stage2
    if isinstance(stage1, RQVAEConfig) and isinstance(stage2, RQTransformerConfig):
        return rq_folder.document(preset, stage1, stage2)
    if not (isinstance(stage1, VQGANConfig) and isinstance(stage2, TransformerConfig)):
        raise ConfigError(f"{preset.name}: models of its kind have no config.yaml")
    out: dict[str, Any] = {
        **names,
        "dataset": {"image_resolution": stage1.resolution},
        "stage1": _stage1_document(stage1),
        "stage2": _stage2_document(stage2),
        "sampling": asdict(preset.sampling),
    }
    if stage2.prefix == "text":
        out["dataset"]["context_length"] = stage2.ctx_len_txt
    if preset.clip:
        out["clip"] = asdict(preset.clip)
    return out


def _stage1(values: dict[str, Any]) -> VQGANConfig:
    hparams = dict(values["hparams"])
    if hparams.pop("double_z"):
        raise ConfigError("stage1.hparams.double_z: true is not supported")
    for key in ("ch_mult", "attn_resolutions"):
        hparams[key] = tuple(hparams[key])
    return VQGANConfig(**{key: values[key] for key in _CODEC_KEYS}, **hparams)


def _stage2(values: dict[str, Any]) -> TransformerConfig:
    hparams = dict(values["hparams"])
    n_dense = hparams.pop("n_dense_layers")
    if n_dense not in (None, hparams["n_layers"]):
        raise ConfigError("stage2.hparams.n_dense_layers: must equal n_layers")
    hparams.pop("use_head_txt")
    n_classes = hparams.pop("n_classes") or 0
    if values["type"] == "transformer1d":
        features = {key: values[key] for key in _FEATURE_KEYS}
        return TransformerConfig(prefix="text", **features, **hparams)
    has_classes = bool(values["use_cls_cond"])
    if has_classes and n_classes < 1:
        raise ConfigError("stage2.hparams.n_classes: needed where use_cls_cond is true")
    hparams["ctx_len_txt"] = 0
    return TransformerConfig(
        prefix="class" if has_classes else "none",
        n_classes=n_classes if has_classes else 0,
        vocab_size_img=values["vocab_size_img"],
        vocab_size_txt=0,
        **hparams,
    )


def _check_consistency(
    values: dict[str, Any], stage1: VQGANConfig, stage2: TransformerConfig
) -> None:
    context_length = values["dataset"]["context_length"]
    depth = 2 ** (len(stage1.ch_mult) - 1) * stage1.patch_size
    rules = (
        (
            stage2.prefix != "text" or context_length in (None, stage2.ctx_len_txt),
            f"dataset.context_length: {context_length} is not ctx_len_txt {stage2.ctx_len_txt}",
        ),
        (stage2.embed_dim % stage2.n_heads == 0, "stage2.hparams.n_heads: must divide embed_dim"),
        (stage1.resolution % depth == 0, f"stage1.hparams.resolution: no multiple of {depth}"),
        (
            stage1.grid_size**2 == stage2.ctx_len_img,
            f"stage2.hparams.ctx_len_img: {stage2.ctx_len_img} codes for a stage 1 that makes"
            f" {stage1.grid_size}×{stage1.grid_size}",
        ),
        (
            stage1.n_embed >= stage2.vocab_size_img,
            f"stage2.vocab_size_img: {stage2.vocab_size_img} for a codebook of {stage1.n_embed}",
        ),
        (
            all(stage1.ch * mult % stage1.norm_groups == 0 for mult in (1, *stage1.ch_mult)),
            f"stage1.hparams.ch: widths must be multiples of {stage1.norm_groups}",
        ),
        (
            "optimizer" not in values or stage2.prefix != "text",
            "optimizer: only a fine-tuning config (stage2.type igpt) may have it",
        ),
        (
            "experiment" not in values or stage2.prefix != "text",
            "experiment: only a fine-tuning config (stage2.type igpt) may have it",
        ),
    )
    for is_kept, message in rules:
        if not is_kept:
            raise ConfigError(message)


def _sampling(values: dict[str, Any] | None, config: TransformerConfig) -> SamplingDefaults:
    """What the document says, else the official defaults.

    The official top_k means the whole vocabulary where that is smaller.
    """
    official, vocab_size = SamplingDefaults(), config.vocab_size_img
    given = SamplingDefaults(**values) if values else official
    if given.top_k == official.top_k and official.top_k is not None:
        given = replace(given, top_k=min(official.top_k, vocab_size))
    row = RowParams(0, temperature=given.temperature, top_k=given.top_k, top_p=given.top_p)
    try:
        row.validate(config.vocab_sizes)
    except InvalidSamplingError as error:
        raise ConfigError(f"sampling.{error}") from None
    return given


def _known_preset(stage1: VQGANConfig, stage2: TransformerConfig) -> Preset | None:
    """The official preset with these shapes, for what an official config.yaml doesn't say."""
    for preset in PRESETS.values():
        if preset.weights is None and (preset.stage1, preset.stage2) == (stage1, stage2):
            return preset
    return None


def _stage1_document(config: VQGANConfig) -> dict[str, Any]:
    hparams = {key: value for key, value in asdict(config).items() if key not in _CODEC_KEYS}
    for key in ("ch_mult", "attn_resolutions"):
        hparams[key] = list(hparams[key])
    codec = {key: getattr(config, key) for key in _CODEC_KEYS}
    return {"type": "vqgan", **codec, "hparams": {"double_z": False, **hparams}}


def _stage2_document(config: TransformerConfig) -> dict[str, Any]:
    hparams = asdict(config)
    out: dict[str, Any] = {"type": _TYPES[hparams.pop("prefix")]}
    features = {key: hparams.pop(key) for key in _FEATURE_KEYS}
    out["vocab_size_img"] = features["vocab_size_img"]
    if config.prefix == "text":
        out["vocab_size_txt"] = features["vocab_size_txt"]
    else:
        out["use_cls_cond"] = config.prefix == "class"
        del hparams["ctx_len_txt"]
    if config.prefix != "class":
        del hparams["n_classes"]
    out["hparams"] = {**hparams, "n_dense_layers": config.n_layers}
    return out
