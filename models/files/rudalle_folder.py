"""ru-DALL-E's files, in one folder → `Preset`, and which of them is what.

    config.json                        of its Hugging Face repository; without one it is Malevich's
    pytorch_model[_v2|_v3].bin         stage 2, a flat state dict
    vqgan.gumbelf8-sber.model.ckpt     stage 1, from the repository of its utilities
    vqgan.gumbelf8-sber.config.yml     what that is, from its package; may be absent
    bpe.model                          the tokenizer, from there, too

By which of two sets of rules a model was trained no file says: see `version`. Knows no torch.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from models.configs.dalle import DalleConfig
from models.configs.preset import Preset
from models.configs.vqgan import VQGANConfig
from models.errors import ConfigError
from models.files.checked import checked
from models.files.dalle_config import RuDalleDocument, Version, rudalle_config
from models.files.documents import json_in, yaml_in
from models.files.taming_config import read_codec
from models.lookalikes import CONFIG_NAME, visible
from models.presets.dalle import DALLE_PRESETS, GUMBEL_F8, SAMPLING

CONFIG = "config.json"
_STAGE2 = ("pytorch_model.bin", "pytorch_model_v3.bin", "pytorch_model_v2.bin")
_STAGE1 = "vqgan*.ckpt"
_STAGE1_CONFIG = "vqgan*.y*ml"
_USUAL_STAGE1 = "vqgan.gumbelf8-sber.model.ckpt"
_PIXELS_PER_CODE = 8
UNREAD = r"loss\..*"  # what trained stage 1, and stands in its file


def is_official(folder: Path) -> bool:
    """Whether the folder holds ru-DALL-E's stage 2."""
    return _stage2(folder) is not None and not (folder / CONFIG_NAME).exists()


def stage_files(folder: Path) -> tuple[str, str]:
    """Names of the files of stage 1, be it there or not, and of stage 2."""
    found = visible(folder.glob(_STAGE1), folder)
    return found[0].name if found else _USUAL_STAGE1, _stage2(folder) or _STAGE2[0]


def read_official(folder: Path) -> Preset:
    """Read config.json, and stage 1's description where there is one.

    Raises:
        ConfigError: naming the folder and the key.
    """
    path = folder / CONFIG
    try:
        given = checked(RuDalleDocument, json_in(path) if path.exists() else {})
        named = _named(given.name or folder.resolve().name)
        stage2 = rudalle_config(given, version(folder, given, named))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    preset = _released(stage2, named) or Preset(
        given.name or folder.resolve().name,
        "",
        "unknown",
        _usual_codec(stage2),
        stage2,
        sampling=replace(SAMPLING, top_k=min(SAMPLING.top_k or 1, stage2.vocab_size_img)),
    )
    described = visible(folder.glob(_STAGE1_CONFIG), folder)
    if described:
        preset = replace(preset, stage1=_described_codec(described[0], stage2))
    return preset


def _released(stage2: DalleConfig, named: Preset | None) -> Preset | None:
    """The released model of this shape; of several, the one that the folder is called after."""
    equal = [p for p in DALLE_PRESETS if p.weights is None and p.stage2 == stage2]
    return named if named in equal else next(iter(equal), None)


def _usual_codec(stage2: DalleConfig) -> VQGANConfig:
    """The released codec, for this grid and codebook."""
    side = stage2.grid[0]
    return replace(
        GUMBEL_F8,
        n_embed=stage2.vocab_size_img,
        resolution=side * _PIXELS_PER_CODE,
        attn_resolutions=(side,),
    )


def _described_codec(path: Path, stage2: DalleConfig) -> VQGANConfig:
    """What a file of taming-transformers says of stage 1."""
    document = yaml_in(path)
    section = document.get("model") if isinstance(document, dict) else None
    try:
        codec = read_codec(section, "model")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    rows, columns = stage2.grid
    made = codec.grid_size
    if (made, made) != stage2.grid:
        raise ConfigError(f"{path}: makes {made}×{made} codes for a stage 2 of {rows}×{columns}")
    return codec


def version(folder: Path, given: RuDalleDocument, named: Preset | None) -> Version:
    """By which rules: those of config.json's `hf_version`, else of the file's name, else of the
    released model that the folder is called after, else the newest.
    """
    if given.hf_version:
        return given.hf_version
    if (_stage2(folder) or "").endswith("_v2.bin"):
        return "v2"
    is_second = named and isinstance(named.stage2, DalleConfig) and named.stage2.has_second_start
    return "v2" if is_second and _stage2(folder) == _STAGE2[0] else "v3"


def _stage2(folder: Path) -> str | None:
    return next((name for name in _STAGE2 if (folder / name).is_file()), None)


def _named(name: str) -> Preset | None:
    """The released model all of whose name's words a folder's has, as `rudalle-Emojich` does."""
    words = set(re.split(r"[\W_]+", name.lower()))
    released = [preset for preset in DALLE_PRESETS if preset.weights is None]
    fitting = [p for p in released if words >= set(p.name.split("-")[1:])]
    return max(fitting, key=lambda preset: len(preset.name), default=None)
