"""A set of numbers that another implementation computed from a checkpoint, read from a folder.

expected.npz holds arrays, expected.json strings and scalars. Knows no model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import lookalikes
from models.errors import CorruptFileError


class AbsentError(Exception):
    """The recorded set lacks something that this array is computed from."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A folder of recorded numbers: expected.npz, and expected.json with strings and scalars."""

    folder: Path
    arrays: dict[str, NDArray[Any]]
    info: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Recorded:
        """Read the folder.

        Raises:
            MissingFileError: it has no expected.npz.
            CorruptFileError: a file can't be read.
        """
        path, info_path = folder / "expected.npz", folder / "expected.json"
        if not path.is_file():
            raise lookalikes.missing(path)
        if what := lookalikes.content(path, is_text=True):
            raise CorruptFileError(f"{path} {what}")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            info = json.loads(info_path.read_text("utf-8")) if info_path.is_file() else {}
        except Exception as error:  # a damaged archive may raise whatever its bytes lead to
            raise CorruptFileError(f"can't read the numbers in {folder}: {error}") from error
        return cls(folder, arrays, info)

    def tensor(self, name: str) -> Tensor:
        """An array that computations start from; integers as int64. AbsentError without it."""
        if name not in self.arrays:
            raise AbsentError(name)
        tensor = torch.from_numpy(np.array(self.arrays[name]))
        return tensor if tensor.is_floating_point() else tensor.long()

    def fact(self, *path: str) -> Any:
        """A value of expected.json, by its keys from the outside in. AbsentError without it."""
        value: Any = self.info
        for name in path:
            if not isinstance(value, dict) or name not in value:
                raise AbsentError(f"expected.json: {'.'.join(path)}")
            value = value[name]
        return value
