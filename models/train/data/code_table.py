"""Pictures of a data set as stage 1's codes, made once, so that stage 2 trains without a pixel.

Knows no text: captions are drawn anew each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.train.data.data_set import DataSet, Variant


@dataclass(frozen=True, slots=True)
class CodeTable:
    """Variants and their codes [M, T], grouped by kind."""

    variants: tuple[Variant, ...]
    codes: Tensor
    by_kind: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, data: DataSet, variants: tuple[Variant, ...], codes: Tensor) -> CodeTable:
        """Group variants by kind."""
        groups: dict[str, list[int]] = {}
        for row, variant in enumerate(variants):
            groups.setdefault(data.kind(variant), []).append(row)
        return cls(variants, codes, {name: tuple(rows) for name, rows in groups.items()})

    @classmethod
    def load(cls, folder: Path, data: DataSet) -> CodeTable:
        """Read what `save` wrote of this data set."""
        rows = json.loads((folder / "variants.json").read_text())
        variants = tuple(Variant(image, tuple(look)) for image, *look in rows)
        return cls.of(data, variants, torch.from_numpy(np.load(folder / "codes.npy")).long())

    def draw(self, rng: Random, shares: Mapping[str, float]) -> int:
        """A row: first a kind by its share, then any of that kind."""
        kinds = [name for name in shares if self.by_kind.get(name)]
        chosen = rng.choices(kinds, [shares[name] for name in kinds])[0]
        return rng.choice(self.by_kind[chosen])


def save(folder: Path, variants: tuple[Variant, ...], codes: NDArray[Any]) -> None:
    """Write variants and their codes [M, T]."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "codes.npy", codes)
    rows = [(variant.image, *variant.look) for variant in variants]
    (folder / "variants.json").write_text(json.dumps(rows))
