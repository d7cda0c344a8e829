"""taming-transformers' folders: configs/ and checkpoints/last.ckpt → `Preset`.

A project's folder holds both stages (configs/STAMP-project.yaml), or a VQGAN alone (the same, or
configs/model.yaml). What training wrote beside `model:` is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.configs.codec import CodecConfig
from models.configs.no_prior import NoPriorConfig
from models.configs.preset import Preset, SamplingDefaults
from models.configs.prior import PriorConfig
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.errors import ConfigError
from models.files import taming_config
from models.files.documents import yaml_in
from models.files.pickles import OF_TRAINING, load_pickle
from models.lookalikes import taming_configs
from models.presets.register import without_missing_ranker
from models.presets.taming import TAMING_PRESETS
from models.stage1.orders import raster_places

# `ckpts` is the name in the authors' downloads of first stages.
_WEIGHTS = ("checkpoints/last.ckpt", "ckpts/last.ckpt")
# Of a whole project's file: the key prefix of each stage.
_PREFIXES = {"stage1": "first_stage_model.", "stage2": "transformer."}
# Inside a stage: what training needed, the segmentations' colours, the mask of every block.
_UNREAD = r"(loss|colorize)\b.*|blocks\.\d+\.attn\.mask"
_ORDER = "permuter.forward_shuffle_idx"
_TOP_K = 250  # of the authors' sampling script, and a nucleus of everything


def is_official(folder: Path) -> bool:
    """Whether the folder is laid out as a taming-transformers project."""
    return bool(taming_configs(folder))


def weights_name(folder: Path) -> str:
    """The file of the weights by its place in the folder, whether it is there or not."""
    return next((name for name in _WEIGHTS if (folder / name).is_file()), _WEIGHTS[0])


def read_official(folder: Path) -> Preset:
    """Read the folder's configs; of several, sorted by name, the later ones win.

    Raises:
        ConfigError: naming the folder and the key.
    """
    merged: dict[str, Any] = {}
    for path in taming_configs(folder):
        content = yaml_in(path)
        if not isinstance(content, Mapping):
            raise ConfigError(f"{path}: must be a mapping")
        merged = _merged(merged, content)
    model, name = merged.get("model"), folder.resolve().name
    try:
        if taming_config.is_codec(model):
            codec = taming_config.read_codec(model, "model")
            return Preset(name, "", "unknown", codec, NoPriorConfig.of(codec))
        stage1, stage2 = taming_config.read_model(model)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error
    like = _known_preset(stage1, stage2, name)
    if like:
        return without_missing_ranker(replace(like, stage2=stage2), folder)
    sampling = SamplingDefaults(top_k=min(_TOP_K, stage2.vocab_size_img), top_p=1.0)
    return Preset(name, "", "unknown", stage1, stage2, sampling=sampling)


def key_prefix(stage: str, stage2: PriorConfig) -> str:
    """What stands before every key of a stage; nothing where the file holds a VQGAN alone."""
    return "" if isinstance(stage2, NoPriorConfig) else _PREFIXES[stage]


def unread_keys(prefix: str) -> str:
    """A pattern of all keys that are not a stage's weights."""
    start = re.escape(prefix)
    return rf"(?!{start}).*|{start}({_UNREAD})"


def check_order(path: Path, codec: CodecConfig) -> None:
    """ConfigError where the order of codes that the file of weights holds is not the config's."""
    assert isinstance(codec, VQGANConfig)
    side = codec.grid_size
    loaded = load_pickle(path, OF_TRAINING)
    state = loaded.get("state_dict") if isinstance(loaded, dict) else None
    stored = state.get(_ORDER) if isinstance(state, dict) else None
    if stored is not None and stored.tolist() != raster_places(codec.order, side):
        raise ConfigError(f"{path}: {_ORDER} is no {codec.order} order of {side}×{side} codes")


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two documents as one; where both say something the second one is right."""
    out = dict(one)
    for key, value in other.items():
        before = out.get(key)
        are_mappings = isinstance(before, Mapping) and isinstance(value, Mapping)
        out[key] = _merged(before, value) if are_mappings else value  # type: ignore[arg-type]  # it is one
    return out


def _known_preset(stage1: CodecConfig, stage2: TransformerConfig, name: str) -> Preset | None:
    """The released model of these shapes; where there are several, the folder's name tells.

    Dropout is training's affair, and not every released file says the same of it.
    """
    plain = replace(stage2, embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)
    shapes = (stage1, plain)
    equal = [p for p in TAMING_PRESETS if p.weights is None and (p.stage1, p.stage2) == shapes]
    told_apart = [p for p in equal if p.name.removeprefix("vqgan-") in name.lower()]
    chosen = equal if len(equal) == 1 else told_apart
    return chosen[0] if chosen else None
