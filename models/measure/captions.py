"""Prompts from files as people have them: one a line, a JSON list, or COCO's captions.

Knows no model; a class is its number, as a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from models.configs.prior import PrefixKind, Prompt
from models.errors import ConfigError
from models.tokenizer import well_formed


def read_prompts(path: Path) -> list[str]:
    """A text file with one prompt a line, or JSON: a list, `prompts`, or COCO's `annotations`.

    An entry is a text, or an object with `prompt` or `caption`; of `.jsonl` each line is one.

    Raises:
        ConfigError: it holds no prompts.
    """
    try:
        text = path.read_text("utf-8-sig")
        found = text.splitlines()
        if path.suffix == ".json":
            found = _in_json(json.loads(text))
        elif path.suffix == ".jsonl":
            found = _in_json([json.loads(line) for line in found if line.strip()])
        prompts = [prompt for line in found if (prompt := " ".join(well_formed(line).split()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: prompts can't be read from it: {error!r}") from None
    if not prompts:
        raise ConfigError(f"{path}: it holds no prompt")
    return prompts


def _in_json(document: object) -> list[str]:
    if isinstance(document, dict):
        document = document.get("prompts") or document["annotations"]
    if not isinstance(document, list):
        raise TypeError("no list")
    return [_text(entry) for entry in document]


def _text(entry: object) -> str:
    if isinstance(entry, dict):
        return str(entry["prompt"] if "prompt" in entry else entry["caption"])
    if isinstance(entry, str | int):
        return str(entry)
    raise TypeError(f"{entry!r} is no prompt")


def sample(prompts: Sequence[str], number: int | None) -> list[str]:
    """So many of them at random, the same in every run; all where no number is given."""
    if number is None or number >= len(prompts):
        return [*prompts]
    return Random("prompts").sample(prompts, number)


def prompts_for(kind: PrefixKind, num_classes: int | None, given: Sequence[str]) -> list[Prompt]:
    """The prompts as a model takes them; one that takes none draws as many pictures.

    Raises:
        ConfigError: one is no class of this model.
    """
    if kind == "none":
        return [None] * len(given)
    if num_classes is None:
        return [*given]
    for prompt in given:
        if not prompt.isdecimal() or int(prompt) >= num_classes:
            raise ConfigError(f"{prompt!r} is no class in 0..{num_classes - 1}")
    return [int(prompt) for prompt in given]
