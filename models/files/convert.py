"""Any checkpoint folder → a converted one: safetensors shards, our names, sha256 of every file.

Done once, on any machine; afterwards loading maps the shards and never meets a pickle. Peak memory
is the source's mapped file plus one shard. Training saves its models through `save`, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.configs.no_prior import NoPriorConfig
from models.configs.preset import Preset
from models.files import config, enhance_folder
from models.files.checkpoint import (
    TOKENIZER_FOLDER,
    Checkpoint,
    open_checkpoint,
    tokenizer_folder,
)
from models.files.new_folder import FolderInUseError, check_free, new_folder
from models.files.places import Stage
from models.files.sections import check_inside
from models.files.shards import sha256, verify
from models.files.weights import shapes
from models.lookalikes import CONFIG_NAME, missing
from models.tokenizer import Tokenizer

__all__ = ["FolderInUseError", "Tensors", "convert", "save"]

Tensors = Iterable[tuple[str, Tensor]]

_NOTICES = ("LICENSE*", "NOTICE*")


def convert(
    source: Path,
    target: Path,
    dtype: torch.dtype | None = None,
    report: Callable[[str], None] = lambda line: None,
    *,
    tokenizer: Path | None = None,
    averaged: bool = False,
) -> Checkpoint:
    """Convert the checkpoint in `source`, of any layout, into the new folder `target`.

    `dtype` is that of stage 2's stored weights, None keeps the source's. Weights stored in the type
    that they are served in are mapped at load, without a copy. Stage 1 keeps its type: it is small,
    and pictures show its rounding. `report` is called with a line per step. `tokenizer` is a folder
    of its files, by default the source's own: the official RQ folders have none, it is part of
    their authors' package. For `averaged` see `open_checkpoint`.

    Raises:
        CheckpointError: the source can't be used, or the target is in use.
    """
    check_free(target)  # before the source's checksums, which may take minutes
    checkpoint = open_checkpoint(source, verify_sha256=True, averaged=averaged, codec_alone=True)
    report(f"source: {source}, {checkpoint.layout} layout, preset {checkpoint.preset.name}")
    stages: dict[Stage, Tensors] = {"stage1": _tensors(checkpoint, "stage1", None)}
    if not isinstance(checkpoint.preset.stage2, NoPriorConfig):
        stages["stage2"] = _tensors(checkpoint, "stage2", dtype)
    save(
        target,
        checkpoint.preset,
        stages,
        extras=_extras(checkpoint, tokenizer or tokenizer_folder(source)),
        source={
            "folder": source.resolve().name,
            "layout": checkpoint.layout,
            "sha256": {name: sha256(source / name) for name in checkpoint.weight_files},
        },
    )
    report(f"target: {target}, sha256 of {verify(target)} files verified")
    return open_checkpoint(target, codec_alone=True)


def save(
    folder: Path,
    preset: Preset,
    stages: Mapping[Stage, Tensors],
    dtype: torch.dtype | None = None,
    *,
    extras: Mapping[str, Path] | None = None,
    source: Mapping[str, object] | None = None,
) -> None:
    """Write a converted folder, complete or not at all.

    `stages` are state dict items by our names, stored as `dtype` or as they are; `extras` are other
    files by their place in the folder: the tokenizer's, CLIP's; `source` is what the manifest shall
    say of where the weights come from.

    Raises:
        FolderInUseError: the folder holds something already.
        ConfigError: an extra's place is not inside the folder.
    """
    for name in extras or {}:
        check_inside(name, "a file to be copied")
    with new_folder(folder, dtype) as writer:
        config.write(writer.folder, preset)
        writer.record(CONFIG_NAME)
        for name, path in (extras or {}).items():
            (writer.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, writer.folder / name)
            writer.record(name)
        for stage, tensors in stages.items():
            writer.write_stage(stage, tensors)
        writer.finish(dict(source or {}))


def _tensors(checkpoint: Checkpoint, stage: Stage, dtype: torch.dtype | None) -> Tensors:
    """One stage by our names, checked against the config before anything is written."""
    needed = shapes(checkpoint.module(stage))
    source = checkpoint.source(stage)
    source.check(needed)
    return source.tensors(needed, torch.device("cpu"), dtype)


def _extras(checkpoint: Checkpoint, tokenizer: Path) -> dict[str, Path]:
    """The other files that the model needs, or that its licence wants kept with it."""
    folder, preset = checkpoint.folder, checkpoint.preset
    paths = {path.name: path for pattern in _NOTICES for path in sorted(folder.glob(pattern))}
    if preset.prompt_kind == "text":
        Tokenizer.load(tokenizer, preset.prompt_len).check_fits(preset.stage2.prompt_vocab_size)
        files = {f"{TOKENIZER_FOLDER}/{path.name}": path for path in Tokenizer.files(tokenizer)}
        paths |= files
    if preset.enhancement:
        name = preset.enhancement.folder
        paths |= enhance_folder.files(folder / name, name)
    names = [preset.clip.weights, preset.clip.config] if preset.clip else []
    names += [preset.classifier.weights] if preset.classifier else []
    paths |= {name: folder / name for name in names if name}
    for path in paths.values():
        if not path.is_file():
            raise missing(path)
    return paths
