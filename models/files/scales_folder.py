"""The multi-scale VQ as its authors trained it: a folder each for stage 1 and both transformers.

Their code has no form for all three together; here they are one document. Knows no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import ConfigError
from models.files.documents import yaml_in
from models.lookalikes import CONFIG_NAME

PARTS = ("stage1", "top", "bottom")
TYPE = "two-scales"  # ours, of the two transformers as one
_TYPES = {"top": "igpt", "bottom": "transformer1d"}  # what they are elsewhere


def is_official(folder: Path) -> bool:
    """Whether the folder has all three."""
    return all((folder / part / CONFIG_NAME).is_file() for part in PARTS)


def document(folder: Path) -> dict[str, Any]:
    """Their three config.yaml as one.

    Raises:
        ConfigError: naming the file.
    """
    first, *others = (_section(folder, part) for part in PARTS)
    parts = dict(zip(_TYPES, others, strict=True))
    # The reference overwrites it so: the second's text are codes.
    parts["bottom"]["vocab_size_txt"] = parts["bottom"].get("vocab_size_img")
    return {"stage1": first, "stage2": {"type": TYPE, **parts}}


def _section(folder: Path, part: str) -> dict[str, Any]:
    path = folder / part / CONFIG_NAME
    content = yaml_in(path)
    stage = "stage1" if part == "stage1" else "stage2"
    section = content.get(stage) if isinstance(content, Mapping) else None
    if not isinstance(section, Mapping):
        raise ConfigError(f"{path}: describes no stage")
    kind = _TYPES.get(part)
    if kind and section.get("type") != part:
        raise ConfigError(f"{path}: stage2.type: {section.get('type')!r} is not {part}")
    return {**section, "type": kind} if kind else dict(section)
