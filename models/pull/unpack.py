"""An archive of a stranger → a new folder with its files, and nothing anywhere else.

Python's `data` filter is the last of several guards: a checkpoint's archive needs no link, no
device and no second file of a name, so these are refused, and every size has a limit before it is
believed. Knows nothing of models.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from models import lookalikes
from models.errors import CorruptFileError, UnsafeArchiveError
from models.files.inside import is_inside

_MOST_AT_ONCE = 1 << 20  # bytes that one header may ask for; files come in far smaller pieces
_DEEPEST = 16
_OPENERS: dict[bytes, Callable[[BinaryIO], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
_CLASHES = (FileExistsError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold. The largest released one unpacks to about 20 GB."""

    max_bytes: int = 64 << 30
    max_members: int = 10_000


def unpack(archive: Path, folder: Path, limits: Limits | None = None) -> None:
    """Unpack into the new folder, complete or not at all.

    Raises:
        UnsafeArchiveError: it holds more than plain files and folders inside of one, or too much.
        CorruptFileError: no tar archive, or damaged.
        OSError: the disk is full, or can't be written.
    """
    draft = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        _extract(archive, draft, limits or Limits())
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _extract(archive: Path, draft: Path, limits: Limits) -> None:
    try:
        with _plain(archive) as stream:
            bounded = _Bounded(stream, limits.max_bytes)
            # Not `r|`: its own buffering would gather what one header asks for, whatever that is.
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                for member in _checked(tar, limits):
                    tar.extract(member, draft, filter="data")
            while bounded.read(_MOST_AT_ONCE):  # to the end, where a compressed file has its sum
                pass
    except (tarfile.FilterError, RecursionError, *_CLASHES) as error:
        raise UnsafeArchiveError(f"{archive} is not unpacked: {error}") from error
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's
            raise
        raise _no_archive(archive, error) from error


def _no_archive(archive: Path, error: Exception) -> CorruptFileError:
    what = None if _opener(archive) else lookalikes.content(archive, is_text=True)
    return CorruptFileError(f"{archive} {what or f'is no whole tar archive: {error}'}")


def _checked(tar: tarfile.TarFile, limits: Limits) -> Iterator[tarfile.TarInfo]:
    """The members one by one, each looked at before anything of it is written."""
    seen: set[PurePosixPath] = set()
    num_bytes = 0
    for count, member in enumerate(tar, start=1):
        path = _path(member)
        num_bytes += member.size
        if count > limits.max_members:
            raise UnsafeArchiveError(f"it has more than {limits.max_members} members")
        if num_bytes > limits.max_bytes:
            raise UnsafeArchiveError(f"{member.name!r}: with it more than {limits.max_bytes} bytes")
        if path in seen and not member.isdir():
            raise UnsafeArchiveError(f"{member.name!r} stands in the archive twice")
        seen.add(path)
        yield member


def _path(member: tarfile.TarInfo) -> PurePosixPath:
    """Where a member goes, below the folder. UnsafeArchiveError for anything else."""
    path = PurePosixPath(member.name)
    is_plain = (member.isreg() and not member.issparse()) or member.isdir()
    if not is_plain:
        raise UnsafeArchiveError(f"{member.name!r} is neither a file nor a folder")
    if not is_inside(member.name) or "\\" in member.name or len(path.parts) > _DEEPEST:
        raise UnsafeArchiveError(f"{member.name!r} leads out of the archive's folder")
    return path


def _opener(archive: Path) -> Callable[[BinaryIO], io.BufferedIOBase] | None:
    with archive.open("rb") as file:
        head = file.read(8)
    return next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)


@contextmanager
def _plain(archive: Path) -> Iterator[io.BufferedIOBase]:
    """The archive's bytes, decompressed by what its first ones say."""
    opener = _opener(archive)
    with archive.open("rb") as file:
        if opener is None:
            yield file
            return
        with opener(file) as stream:
            yield stream


class _Bounded(io.RawIOBase):
    """A stream that gives no more bytes than allowed, and never many at once."""

    def __init__(self, stream: io.BufferedIOBase, max_bytes: int) -> None:
        self._stream = stream
        # Headers, padding and the zeros at the end come on top of what the members hold.
        self._max_bytes = max_bytes + max_bytes // 64 + _MOST_AT_ONCE

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """See RawIOBase; UnsafeArchiveError where that asks for too much."""
        if not 0 <= size <= _MOST_AT_ONCE:
            raise UnsafeArchiveError(f"a header of the archive asks for {size} bytes at once")
        data = self._stream.read(size)
        self._check(self._stream.tell())
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See RawIOBase; a place beyond the limit is not looked for."""
        self._check(offset)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """See RawIOBase."""
        return self._stream.tell()

    def _check(self, offset: int) -> None:
        if offset > self._max_bytes:
            raise UnsafeArchiveError(f"the archive is longer than {self._max_bytes} bytes")
