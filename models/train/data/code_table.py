"""Pictures of a data set as stage 1's codes, made once, so that stage 2 trains without a pixel.

Where targets are soft, the features that the codes are of lie beside them. Knows no text: captions
are drawn anew each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ConfigError
from models.files.documents import json_in
from models.train.data import epochs
from models.train.data.data_set import DataSet, Ordered, Variant

_CODES, _FEATURES, _VARIANTS = "codes.npy", "features.npy", "variants.json"
_BROKEN, _PICTURES, _UNFINISHED = "broken.json", "pictures.json", "unfinished"


@dataclass(frozen=True, slots=True)
class CodeTable:
    """Variants, grouped by kind, their codes [M, T, D] ([M, T] where D is 1) and maybe features.

    Codes and `features` [M, C, h, w] stay in their files. Rows of broken pictures are of no kind.
    """

    variants: tuple[Variant, ...]
    codes: NDArray[Any]
    by_kind: dict[str, tuple[int, ...]]
    features: NDArray[Any] | None = None
    whole: tuple[int, ...] = ()  # the rows of every kind

    @classmethod
    def of(
        cls,
        data: DataSet,
        variants: tuple[Variant, ...],
        codes: NDArray[Any],
        broken: Collection[int] = (),
    ) -> CodeTable:
        """Group variants by kind, but for broken pictures."""
        groups: dict[str, list[int]] = {}
        for row, variant in enumerate(variants):
            if variant.image in broken:
                continue
            groups.setdefault(data.kind(variant), []).append(row)
        by_kind = {name: tuple(rows) for name, rows in groups.items()}
        return cls(variants, codes, by_kind, whole=tuple(chain.from_iterable(by_kind.values())))

    @classmethod
    def load(cls, folder: Path, data: DataSet) -> CodeTable:
        """Read what `reserve` and `fill` wrote of this data set.

        Raises:
            ConfigError: it is not there, not all of it is written, or it is of other pictures.
        """
        if not (folder / _VARIANTS).is_file():
            raise ConfigError(f"--codes: {folder} holds none: make them by the command `codes`")
        if (folder / _UNFINISHED).exists():
            raise ConfigError(f"--codes: {folder}: its encoding did not end; call `codes` again")
        rows = json_in(folder / _VARIANTS)
        variants = tuple(Variant(image, tuple(look)) for image, *look in rows)
        if isinstance(data, Ordered) and (
            {v.image for v in variants} != set(data.images)
            or _noted_pictures(folder) not in {None, data.fingerprint()}
        ):
            raise ConfigError(f"--codes: {folder} is of other pictures than --data: encode those")
        noted, codes = folder / _BROKEN, _rows_in(folder / _CODES)
        broken = set(json_in(noted)) if noted.is_file() else set()
        table = cls.of(data, variants, codes, broken)
        path = folder / _FEATURES
        return replace(table, features=_rows_in(path)) if path.exists() else table

    def rows(self, positions: range, seed: int) -> list[int]:
        """The rows at these positions, each once an epoch."""
        return [self.whole[index] for index in epochs.at(positions, len(self.whole), seed)]

    def draw(self, rng: Random, shares: Mapping[str, float]) -> int:
        """A row: first a kind by its share, then any of that kind."""
        kinds = [name for name in shares if self.by_kind.get(name)]
        chosen = rng.choices(kinds, [shares[name] for name in kinds])[0]
        return rng.choice(self.by_kind[chosen])

    def codes_of(self, rows: Sequence[int]) -> Tensor:
        """The codes of some rows."""
        return torch.from_numpy(self.codes[list(rows)].astype(np.int64))

    def features_of(self, rows: Sequence[int]) -> Tensor | None:
        """The features of some rows, float32, where the table has them."""
        if self.features is None:
            return None
        return torch.from_numpy(self.features[list(rows)].astype(np.float32))


def reserve(
    folder: Path,
    variants: tuple[Variant, ...],
    code_shape: tuple[int, int],
    features: tuple[int, int, int] | None = None,
    *,
    pictures: str | None = None,
) -> None:
    """Write variants, and room for their codes (T, D) and for features (C, h, w), if wanted.

    `pictures` is the data set's fingerprint, if it has one.

    Until `note_broken` the table can't be loaded: codes that are still to come are 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _UNFINISHED).touch()
    rows = [(variant.image, *variant.look) for variant in variants]
    (folder / _VARIANTS).write_text(json.dumps(rows))
    (folder / _PICTURES).write_text(json.dumps(pictures))
    extent = code_shape if code_shape[1] > 1 else code_shape[:1]
    _room(folder / _CODES, "int32", (len(variants), *extent))
    (folder / _FEATURES).unlink(missing_ok=True)
    if features is not None:
        _room(folder / _FEATURES, "float16", (len(variants), *features))


def fill(folder: Path, start: int, codes: Tensor, features: Tensor | None = None) -> None:
    """Write codes [n, T, D] and features [n, C, h, w] of the variants from `start` on."""
    for name, values in ((_CODES, codes), (_FEATURES, features)):
        if values is not None:
            rows = np.load(folder / name, mmap_mode="r+")
            rows[start : start + len(values)] = values.numpy().reshape(len(values), *rows.shape[1:])
            rows.flush()


def note_broken(folder: Path, images: Collection[int]) -> None:
    """Say which pictures could not be read: now all of the table is written."""
    (folder / _BROKEN).write_text(json.dumps(sorted(images)))
    (folder / _UNFINISHED).unlink(missing_ok=True)


def _noted_pictures(folder: Path) -> str | None:
    """What `reserve` was told; None of a table of the last release, which doesn't say."""
    path = folder / _PICTURES
    noted: str | None = json.loads(path.read_text()) if path.is_file() else None
    return noted


def _room(path: Path, kind: str, shape: tuple[int, ...]) -> None:
    """OSError where the disk has not so much: later on it would end the process without a word."""
    np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape).flush()
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _rows_in(path: Path) -> NDArray[Any]:
    """They stay in the file. ConfigError where it was cut."""
    try:
        rows: NDArray[Any] = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ConfigError(f"--codes: {path} is damaged, call `codes` again: {error}") from error
    return rows
