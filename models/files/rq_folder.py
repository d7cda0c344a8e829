"""The RQ family's official folders: stage1/config.yaml and stage2/config.yaml → `Preset`.

What training wrote there beside `arch`, `dataset` and the sampling is not read. Knows no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.configs.preset import Preset
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.errors import ConfigError
from models.files import rq_config
from models.files.documents import yaml_in
from models.presets.register import without_missing_ranker
from models.presets.rq import RQ_PRESETS

STAGE1_CONFIG = "stage1/config.yaml"
STAGE2_CONFIG = "stage2/config.yaml"
_TOKENIZERS = ("bpe16k_huggingface", "bpe30k_huggingface")


def is_official(folder: Path) -> bool:
    """Whether the folder is laid out as the family's tarballs are."""
    return (folder / STAGE1_CONFIG).is_file() and (folder / STAGE2_CONFIG).is_file()


def read_official(folder: Path) -> Preset:
    """Read both official files.

    Raises:
        ConfigError: naming the folder and the key.
    """
    first, second = _load(folder / STAGE1_CONFIG), _load(folder / STAGE2_CONFIG)
    try:
        dataset = _section(second, "dataset")
        stage1 = rq_config.read_rq_vae(first.get("arch"), "stage1")
        arch = second.get("arch")
        if isinstance(arch, dict):  # training configs leave it to the data set
            arch = {"vocab_size": dataset.get("vocab_size"), **arch}
        stage2 = rq_config.read_rq_transformer(arch, "stage2", stage1)
        _check_text(dataset, stage2)
        like = _known_preset(stage1, stage2, dataset)
        like = without_missing_ranker(like, folder) if like else None
        preset = like or Preset(folder.resolve().name, "", "unknown", stage1, stage2)
        sampling = second.get("sampling") or _section(second, "experiment").get("sample")
        if sampling is None and like:
            return like
        return replace(preset, sampling=rq_config.parse_sampling(sampling or {}, stage2))
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error


def _load(path: Path) -> Mapping[str, Any]:
    content = yaml_in(path)
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: must be a mapping")
    return content


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One that stage 2's file may leave out."""
    section: Any = document.get(name) or {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"stage2: {name}: must be a mapping")
    return section


def _check_text(dataset: Mapping[str, Any], stage2: RQTransformerConfig) -> None:
    """The tokenizer and the length that a text model was trained with."""
    if stage2.prefix != "text":
        return
    name, length = dataset.get("txt_tok_name"), dataset.get("context_length")
    if name is not None and name not in _TOKENIZERS:
        known = " and ".join(_TOKENIZERS)
        raise ConfigError(f"stage2: dataset.txt_tok_name: {name!r} is not supported, only {known}")
    if length not in (None, stage2.block_size_cond):
        raise ConfigError(
            f"stage2: dataset.context_length: {length} is not block_size_cond"
            f" {stage2.block_size_cond}"
        )


def _known_preset(
    stage1: RQVAEConfig, stage2: RQTransformerConfig, dataset: Mapping[str, Any]
) -> Preset | None:
    """The released model of these shapes; where there are several, the data set tells."""
    shapes = (stage1, stage2)
    equal = [p for p in RQ_PRESETS if p.weights is None and (p.stage1, p.stage2) == shapes]
    trained_on = str(dataset.get("type") or dataset.get("dataset") or "").lower()
    told_apart = [p for p in equal if trained_on.endswith(p.name.removeprefix("rq-"))]
    chosen = equal if len(equal) == 1 else told_apart
    return chosen[0] if chosen else None
