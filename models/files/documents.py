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


def yaml_in(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        CheckpointError: it is not there, or no YAML.
    """
    data = _bytes(path)
    try:
        return yaml.safe_load(data)
    except Exception as error:  # dates and tagged values raise whatever they lead to
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


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
