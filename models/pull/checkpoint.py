"""A released model's files → a converted checkpoint folder, whatever breaks off in between.

`FOLDER.pull` beside the folder holds what has come; it goes away at the end. torch is loaded for
the conversion alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from models.configs.preset import Preset
from models.errors import CheckpointError, MissingFileError
from models.lookalikes import is_hidden
from models.pull.fetch import Fetcher, check
from models.pull.unpack import unpack
from models.upstream.releases import (
    CLASSIFIER,
    CLIP,
    RELEASES,
    Checksum,
    RankerFile,
    Release,
    RemoteFile,
)

__all__ = ["Fetcher", "Sources", "Wanted", "place", "pull"]

_DEEPEST = 3  # folders around the checkpoint's own


@dataclass(frozen=True, slots=True)
class Sources:
    """Where files come from, besides their official addresses.

    `archive` is an address or a file, in place of the release's; `checksum` its own, if it is not
    the official archive. Each of `mirrors` has the files below host and path of their addresses.
    """

    archive: str = ""
    checksum: Checksum | None = None
    mirrors: tuple[str, ...] = ()

    def addresses(self, file: RemoteFile) -> list[str]:
        """Of a file, in the order in which they are tried."""
        if self.archive and not file.place:
            return [self.archive]
        parts = urlsplit(file.address)
        mirrored = [f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}" for mirror in self.mirrors]
        return [*mirrored, file.address]

    @property
    def local_archive(self) -> Path | None:
        """The archive, where it is a file."""
        return None if not self.archive or "://" in self.archive else Path(self.archive)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model's released files, and what ranks its pictures where others published that."""

    name: str
    release: Release
    ranker: RankerFile | None = None

    @classmethod
    def of(cls, preset: Preset, *, ranked: bool = True) -> Wanted:
        """What a preset needs. MissingFileError where that is no file."""
        if preset.name not in RELEASES:
            raise MissingFileError(f"{preset.name} has its weights here: there is nothing to pull")
        ranker = CLIP if preset.clip else CLASSIFIER if preset.classifier else None
        return cls(preset.name, RELEASES[preset.name], ranker if ranked else None)


def pull(
    wanted: Wanted,
    folder: Path,
    sources: Sources,
    fetcher: Fetcher,
    report: Callable[[str], None] = lambda line: None,
) -> bool:
    """Bring a released checkpoint into the new folder, converted.

    Returns:
        False where it was there already; every file of it was compared with its manifest then.

    Raises:
        DownloadError: a file can't be had now.
        CheckpointError: what came is not the file, not safe, or no checkpoint; or nothing is
            released.
    """
    if folder.is_dir() and any(folder.iterdir()):
        _verify(folder, report)
        return False
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give another --out")
    files = _files(wanted, sources)
    work = folder.with_name(f"{folder.name}.pull")
    with _alone(work):
        unpacked = work / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)  # of a call before, perhaps of another archive
        _gather(files, unpacked / wanted.name, sources, _Desk(fetcher, work, report))
        _convert(_checkpoint_in(unpacked), folder, report)
        shutil.rmtree(work)
    return True


def place(ranker: RankerFile, folder: Path, sources: Sources, fetcher: Fetcher) -> Path:
    """Bring a ranker's weights to their place in a folder, be it a checkpoint's or not yet.

    Raises:
        DownloadError, CheckpointError: as `pull`; what lies there already is another file.
    """
    file = ranker.file
    path = folder / file.place
    if path.is_file():
        if file.checksum:
            check(path, file.checksum, str(path))
        return path
    work = folder / ".pull"
    with _alone(work):
        fetched = fetcher.fetch(file, sources.addresses(file), work)
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched.replace(path)
        shutil.rmtree(work)
    return path


def _files(wanted: Wanted, sources: Sources) -> Sequence[RemoteFile]:
    """All that is needed, the archive first: what it holds need not be fetched."""
    files = list(wanted.release.files)
    if sources.archive:
        official = next((file.checksum for file in files if not file.place), None)
        archive = RemoteFile(sources.archive, sources.checksum or official)
        files = [archive, *(file for file in files if file.place)]
    if not files:
        raise MissingFileError(
            f"{wanted.name}: {wanted.release.lacking}; an archive of its folder can be given with"
            " --from"
        )
    return [*files, wanted.ranker.file] if wanted.ranker else files


@dataclass(frozen=True, slots=True)
class _Desk:
    """Fetches into one folder, and says of each file how it was checked."""

    fetcher: Fetcher
    work: Path
    report: Callable[[str], None]

    def fetched(self, file: RemoteFile, sources: Sources) -> Path:
        """The file, as its checksum wants it."""
        path = self.fetcher.fetch(file, sources.addresses(file), self.work)
        self._tell(file, path)
        return path

    def local(self, file: RemoteFile, path: Path) -> Path:
        """The same for a file that is here."""
        if file.checksum:
            check(path, file.checksum, str(path))
        self._tell(file, path)
        return path

    def _tell(self, file: RemoteFile, path: Path) -> None:
        if file.checksum:
            self.report(f"{file.name}: {file.checksum.algorithm} is right")
            return
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        self.report(f"{file.name}: sha256 {digest}; none is published to compare it with")


def _gather(files: Sequence[RemoteFile], folder: Path, sources: Sources, desk: _Desk) -> None:
    """All files in their places, as the authors' own folder has them."""
    for file in files:
        if not file.place:
            here = sources.local_archive
            archive = desk.local(file, here) if here else desk.fetched(file, sources)
            desk.report(f"{file.name}: unpacking")
            unpack(archive, folder.parent)
            continue
        into = _checkpoint_in(folder.parent) if folder.parent.exists() else folder
        path = into / file.place
        if not path.exists():
            fetched = desk.fetched(file, sources)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(fetched)


def _checkpoint_in(folder: Path) -> Path:
    """The checkpoint's own folder, below folders that hold nothing else."""
    for _ in range(_DEEPEST):
        inside = [path for path in folder.iterdir() if not is_hidden(path)]
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]
    return folder


def _verify(folder: Path, report: Callable[[str], None]) -> None:
    from models.files import shards  # noqa: PLC0415 - loads torch, which fetching needs not

    if not (folder / shards.MANIFEST_NAME).is_file():
        raise CheckpointError(f"{folder} holds something else already; give another --out")
    report(f"{folder} is there already, sha256 of {shards.verify(folder)} files verified")


def _convert(source: Path, folder: Path, report: Callable[[str], None]) -> None:
    from models.files.convert import convert  # noqa: PLC0415 - loads torch, see `_verify`

    convert(source, folder, report=report)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """The folder for what has come, in the hands of one call at a time."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"another call is at work in {work}") from None
        yield
