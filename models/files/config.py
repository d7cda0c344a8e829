"""config.yaml of a checkpoint folder ↔ `Preset`.

The official files leave most keys out; what is missing takes the dataclasses' defaults, which are
the official ones, and a key that nobody knows is an error. Our own optional keys are `name`,
`description`, `licence`, `clip`, `classifier`, `sampling`, `enhance` (a folder, see
`enhance_folder`), and what `layouts` says of the stages'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, make_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from models.configs.codec import CodecConfig, levels_of
from models.configs.preset import Preset, SamplingDefaults
from models.configs.prior import PriorConfig
from models.configs.rankers import ClassifierConfig, ClipConfig
from models.drawing.sampling import InvalidSamplingError, RowParams
from models.errors import ConfigError
from models.families import CODECS, PRIORS, CodecFamily, PriorFamily
from models.files import (
    enhance_folder,
    pixel_file,
    rq_folder,
    rudalle_folder,
    scales_folder,
    taming_folder,
)
from models.files.checked import checked
from models.files.documents import yaml_in
from models.files.layouts import CODEC_READERS, PRIOR_READERS, WITH_TRAINING, written
from models.files.sections import Section, check_inside
from models.lookalikes import CONFIG_NAME
from models.presets.register import PRESETS, without_missing_ranker

_OFFICIAL_TYPES = {"stage1": "vqgan", "stage2": "transformer1d"}


@dataclass(frozen=True, slots=True)
class _Document:
    """The sections, looked into one by one. Any: that is when their types are checked."""

    name: str | None = None
    description: str | None = None
    licence: str | None = None
    dataset: Any = None
    stage1: dict[str, Any] | None = None
    stage2: dict[str, Any] | None = None
    optimizer: Any = None
    experiment: Any = None
    clip: Any = None
    classifier: Any = None
    sampling: Any = None
    enhance: str | None = None


# Sections of training, whose values nobody here reads (Any) but for the length of a prompt.
_TRAINING = {
    section: make_dataclass(section, [(key, Any, None) for key in keys.split()])
    for section, keys in {
        "dataset": "dataset tokenizer_type context_length image_resolution transforms bpe_pdrop",
        "optimizer": "opt_type base_lr weight_decay betas grad_clip_norm sched_type max_steps"
        " min_lr",
        "experiment": "local_batch_size total_batch_size valid_batch_size epochs save_ckpt_freq"
        " test_freq use_amp",
    }.items()
}


def read(folder: Path) -> Preset:
    """Read the folder's config.yaml, or what describes a model of a family that has none.

    Raises:
        MissingFileError: there is neither.
        ConfigError: naming the file and the key.
        CheckpointError: the description stands among the weights, and their file is damaged.
    """
    path = folder / CONFIG_NAME
    if not path.exists() and rq_folder.is_official(folder):
        return rq_folder.read_official(folder)
    if rudalle_folder.is_official(folder):
        return rudalle_folder.read_official(folder)
    if taming_folder.is_official(folder) and not path.exists():
        return taming_folder.read_official(folder)
    if pixel_file.is_checkpoint(folder):
        return pixel_file.read_preset(folder)
    is_in_parts = not path.exists() and scales_folder.is_official(folder)
    document = scales_folder.document(folder) if is_in_parts else yaml_in(path)
    try:
        return parse(document or {}, folder)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(document: Any, folder: Path) -> Preset:
    """Check a parsed document and build the preset; `folder` names it where it has no name.

    Raises:
        ConfigError: unknown key, wrong type, or values that contradict each other.
    """
    given = checked(_Document, document)
    stage1 = _codec(given.stage1 or {})
    stage2 = _prior(given.stage2 or {}, stage1)
    _check_training(given, stage2)
    like = _known_preset(stage1, stage2, folder)
    clip, classifier = _rankers(given, stage2)
    return Preset(
        name=given.name or (like.name if like else folder.resolve().name),
        description=given.description or (like.description if like else ""),
        licence=given.licence or (like.licence if like else "unknown"),
        stage1=stage1,
        stage2=stage2,
        clip=clip or (like.clip if like else None),
        classifier=classifier or (like.classifier if like else None),
        sampling=like.sampling
        if like and given.sampling is None
        else _sampling(given.sampling or {}, stage1, stage2),
        enhancement=enhance_folder.read(folder, given.enhance, stage1) if given.enhance else None,
    )


def write(folder: Path, preset: Preset) -> None:
    """Write a config.yaml that `read` turns back into `preset` (but for where its weights lie)."""
    text = yaml.safe_dump(document(preset), sort_keys=False, allow_unicode=True)
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")


def document(preset: Preset) -> dict[str, Any]:
    """The preset in the layout of the official files, with our own keys beside theirs."""
    out: dict[str, Any] = {
        "name": preset.name,
        "description": preset.description,
        "licence": preset.licence,
        "dataset": {"image_resolution": preset.size[0]},
        "stage1": written(preset.stage1),
        "stage2": written(preset.stage2),
        "sampling": asdict(preset.sampling),
    }
    if preset.prompt_kind == "text":
        out["dataset"]["context_length"] = preset.prompt_len
    if preset.clip:
        out["clip"] = asdict(preset.clip)
    if preset.classifier:
        out["classifier"] = asdict(preset.classifier)
    if preset.enhancement:
        out["enhance"] = preset.enhancement.folder
    return out


def _codec(section: Section) -> CodecConfig:
    family: CodecFamily = _family(section, CODECS, "stage1")
    codec: CodecConfig = CODEC_READERS[family.config](section, "stage1")
    return codec


def _prior(section: Section, codec: CodecConfig) -> PriorConfig:
    family: PriorFamily = _family(section, PRIORS, "stage2")
    prior: PriorConfig = PRIOR_READERS[family.config](section, "stage2", codec)
    return prior


def _family(section: Section, register: Mapping[str, Any], path: str) -> Any:
    """What the section's type is registered as; without one it is the official type."""
    kind = section.get("type", _OFFICIAL_TYPES[path])
    if not isinstance(kind, str) or kind not in register:
        known = " or ".join(register)
        raise ConfigError(f"{path}.type: {kind!r} is not supported, only {known}")
    return register[kind]


def _check_training(given: _Document, stage2: PriorConfig) -> None:
    """What a document says of training is not used, but it must fit the model."""
    is_read = isinstance(stage2, WITH_TRAINING)
    for name, shape in _TRAINING.items() if is_read else ():
        checked(shape, getattr(given, name) or {}, name)
    if stage2.prompt_kind != "text":
        return
    dataset = given.dataset or {}
    if not isinstance(dataset, dict):
        raise ConfigError("dataset: must be a mapping")
    length, needed = dataset.get("context_length"), stage2.prompt_len
    if length not in (None, needed):
        raise ConfigError(f"dataset.context_length: {length}, but stage 2 takes {needed} tokens")
    for name in ("optimizer", "experiment") if is_read else ():
        if getattr(given, name) is not None:
            raise ConfigError(f"{name}: only a fine-tuning config (stage2.type igpt) may have it")


def _sampling(values: Any, codec: CodecConfig, config: PriorConfig) -> SamplingDefaults:
    """What the document says, else the official defaults.

    The official top_k means the whole vocabulary where that is smaller.
    """
    given, official = checked(SamplingDefaults, values, "sampling"), SamplingDefaults()
    if given.top_k == official.top_k and official.top_k is not None:
        given = replace(given, top_k=min(official.top_k, max(config.vocab_sizes)))
    row = RowParams(0, temperature=given.temperature, top_k=given.top_k, top_p=given.top_p)
    try:
        row.spread(levels_of(codec)).validate(config.vocab_sizes)
    except InvalidSamplingError as error:
        raise ConfigError(f"sampling.{error}") from None
    return given


def _rankers(
    given: _Document, stage2: PriorConfig
) -> tuple[ClipConfig | None, ClassifierConfig | None]:
    if given.classifier is not None and stage2.prompt_kind != "class":
        raise ConfigError("classifier: ranks a class's pictures, and this model takes no class")
    clip = None if given.clip is None else checked(ClipConfig, given.clip, "clip")
    classifier = (
        None
        if given.classifier is None
        else checked(ClassifierConfig, given.classifier, "classifier")
    )
    if clip:
        check_inside(clip.weights, "clip.weights")
        check_inside(clip.config or "", "clip.config")
    if classifier:
        check_inside(classifier.weights, "classifier.weights")
    return clip, classifier


def _known_preset(stage1: CodecConfig, stage2: PriorConfig, folder: Path) -> Preset | None:
    """The official preset with these shapes, for what an official config.yaml doesn't say.

    Its ranker is this model's where the file of it lies in the folder.
    """
    for preset in PRESETS.values():
        if preset.weights is None and (preset.stage1, preset.stage2) == (stage1, stage2):
            return without_missing_ranker(preset, folder)
    return None
