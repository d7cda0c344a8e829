"""YAML and JSON files of a checkpoint's folder, read as people save them.

Any Unicode encoding with a byte order mark is read. What a document means is for its reader.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from models import lookalikes
from models.errors import ConfigError, CorruptFileError

_MOST_VALUES = 100_000


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, as YAML does; PyYAML takes the last of them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            # What `<<` merges in may be said again.
            said = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if said in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} is there twice", problem_mark=key.start_mark
                )
            if said:
                seen.add(said)
        return super().construct_mapping(node, deep)


def yaml_in(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        CheckpointError: it is not there, or no YAML.
    """
    data = _bytes(path)
    try:
        read = yaml.load(data, _Loader)
    except Exception as error:  # dates and tagged values raise whatever they lead to
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if _size(read, {}) > _MOST_VALUES:
        raise ConfigError(f"{path}: its aliases stand for more than {_MOST_VALUES} values")
    return read


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values it holds, what aliases stand for counted each time; of a circle, few."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = 1
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] += sum(_size(each, known) for each in inside)
    return known[id(value)]


def json_in(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        CheckpointError: it is not there, or no JSON.
    """
    data = _bytes(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise lookalikes.missing(path)
    if what := lookalikes.content(path, is_text=True):
        raise CorruptFileError(f"{path} {what}")
    return path.read_bytes()
