"""WebDataset shards: tar files in which `0017.jpg` stands beside `0017.txt`, or `0017.cls`.

Where each member lies is noted once, beside the shard where one may write, so that a picture is
read alone, in any order: that of a folder with the same files. Knows no pictures.
"""

from __future__ import annotations

import re
import tarfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.train.data.folder import SUFFIXES, read_text

_TEXTS = (".txt", ".cls")
_HEADER = 512  # bytes before each member
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")

Index = NDArray[np.int64]  # [n, 4]: where a picture and its text begin, and how long they are


def is_named(pattern: Path) -> bool:
    """Whether these are shards: `shards/{0000..1279}.tar`, or one tar file."""
    return pattern.suffix == ".tar"


def paths(pattern: Path) -> list[Path]:
    """The shards of a pattern with at most one range, of as many digits as its ends have.

    Raises:
        ConfigError: the range is none.
    """
    found = _RANGE.search(str(pattern))
    if found is None:
        return [pattern]
    first, last = found.groups()
    if int(first) > int(last):
        raise ConfigError(f"--data: {pattern}: the range is empty")
    numbers = range(int(first), int(last) + 1)
    return [Path(_RANGE.sub(f"{number:0{len(first)}d}", str(pattern), 1)) for number in numbers]


class ShardFiles:
    """See `Files`."""

    def __init__(self, shards: list[Path]) -> None:
        self.shards = shards
        self._indices = [_index(path) for path in shards]
        self._ends = list(accumulate(len(index) for index in self._indices))
        if not len(self):
            raise FileNotFoundError(f"{shards[0]} and so on hold no pictures")

    def __len__(self) -> int:
        return self._ends[-1]

    def name(self, number: int) -> str:
        shard, (start, _, _, _) = self._at(number)
        header = tarfile.TarInfo.frombuf(
            self._read(shard, start - _HEADER, _HEADER), "utf-8", "replace"
        )
        return f"{self.shards[shard].name}/{header.name}"

    def size(self, number: int) -> int:
        _, (_, length, _, _) = self._at(number)
        return length

    def group(self, number: int) -> str:
        return self.text(number).strip()  # its class, where it is one

    def picture(self, number: int) -> bytes:
        shard, (start, length, _, _) = self._at(number)
        return self._read(shard, start, length)

    def text(self, number: int) -> str:
        shard, (_, _, start, length) = self._at(number)
        return read_text(self._read(shard, start, length))

    def _at(self, number: int) -> tuple[int, list[int]]:
        """Which shard, and the row of its index."""
        shard = bisect_right(self._ends, number)
        row: list[int] = self._indices[shard][number - self._ends[shard]].tolist()
        return shard, row

    def _read(self, shard: int, start: int, length: int) -> bytes:
        with self.shards[shard].open("rb") as file:
            file.seek(start)
            return file.read(length)


def _index(shard: Path) -> Index:
    """Read, or made, and noted beside the shard."""
    noted = shard.with_suffix(".index.npy")
    if noted.is_file() and noted.stat().st_mtime >= shard.stat().st_mtime:
        with suppress(ValueError, EOFError):  # a crash of the machine may leave half of it
            found: Index = np.load(noted, mmap_mode="r")
            return found
    made = np.array(list(_rows(shard)), np.int64).reshape(-1, 4)
    part = noted.with_suffix(f".{uuid4().hex}.npy")  # others may note the same at this moment
    try:
        np.save(part, made)
        part.replace(noted)
    except OSError:
        pass  # a disk to read from only: it is made again by the next run
    return made


def _rows(shard: Path) -> Iterator[tuple[int, int, int, int]]:
    """Members with one name but for the suffix belong together."""
    pictures: dict[str, tuple[int, int]] = {}
    texts: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                stem, suffix = _split(member.name)
                known = pictures if suffix in SUFFIXES else texts if suffix in _TEXTS else {}
                known[stem] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ConfigError(f"{shard} is no tar file, or half of one: {error}") from error
    return ((*place, *texts.get(stem, (0, 0))) for stem, place in pictures.items())


def _split(name: str) -> tuple[str, str]:
    """As WebDataset does: the suffix begins at the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{suffix}".lower()
