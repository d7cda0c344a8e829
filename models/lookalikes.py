"""What people give in place of a checkpoint's folder or file, known by names and first bytes.

Whoever can't use a file or a folder asks here for the few words that say what it is and what to do.
Knows no format of weights beyond its first bytes, and changes nothing.
"""

from __future__ import annotations

import difflib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.errors import MissingFileError

CONFIG_NAME = "config.yaml"
_STAGES = ("stage1", "stage2")  # each with a config of its own, in some families' folders
_DEPTH = 3  # of folders below: a repository's cache keeps snapshots/HASH/
_UNFINISHED = (
    *(".part", ".partial", ".crdownload", ".download", ".incomplete", ".opdownload"),
    *(".aria2", ".tmp", ".!qB", ".!ut"),
)
# What a damaged directory of a zip file raises: no entry, a version or a name that can't be.
DAMAGED_ZIP = (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError)
_ARCHIVES = {
    b"\x1f\x8b": "a gzip archive: unpack it (tar -xzf)",
    b"BZh": "a bzip2 archive: unpack it (tar -xjf)",
    b"\xfd7zXZ\0": "an xz archive: unpack it (tar -xJf)",
    b"\x28\xb5\x2f\xfd": "a zstd archive: unpack it (tar --zstd -xf)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it (7z x)",
    b"Rar!": "a rar archive: unpack it (unrar x)",
}
_COPY = re.compile(r"( \(\d+\)| - copy( \(\d+\))?| copy( \d+)?)(?=\.|$)")
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")
_SCHEMES = ("http:", "https:", "s3:", "gs:", "hf:", "file:")


def is_hidden(path: Path) -> bool:
    """Whether it is what a system keeps for itself: `._name` and __MACOSX of a Mac, .DS_Store."""
    return path.name.startswith(".") or path.name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def visible(paths: Iterable[Path], below: Path) -> list[Path]:
    """Those of the paths below a folder on whose way nothing is hidden, in order."""
    return sorted(path for path in paths if not any(map(is_hidden, _way(path, below))))


def _way(path: Path, below: Path) -> Iterator[Path]:
    return (Path(part) for part in path.relative_to(below).parts)


def taming_configs(folder: Path) -> list[Path]:
    """What describes a model of taming-transformers in its folder, sorted by name."""
    found = visible(folder.glob("configs/*-project.yaml"), folder)
    return found or [path for path in (folder / "configs/model.yaml",) if path.is_file()]


def missing(path: Path) -> MissingFileError:
    """The error for a file that is not there, with what is there in its place."""
    return MissingFileError(f"{path} does not exist{_in_place_of(path)}")


def _in_place_of(path: Path) -> str:
    if path.is_symlink():
        return f": it is a link to {path.readlink()}, which is not there; copy the files (cp -L)"
    for suffix in _UNFINISHED:
        if path.with_name(path.name + suffix).exists():
            return f", but {path.name}{suffix}: its download did not end; fetch it again"
    if not path.parent.is_dir():
        return ""
    for other in visible(path.parent.iterdir(), path.parent):
        if _meant(other.name) == path.name.casefold():
            return f"; is it {other.name}?"
    return ""


def _meant(name: str) -> str:
    """The name before a browser numbered it, a system copied it or an editor added its ending."""
    plain = _COPY.sub("", name.casefold()).removesuffix(".txt")
    return f"{plain.removesuffix('.yml')}.yaml" if plain.endswith(".yml") else plain


def content(path: Path, *, is_text: bool = False) -> str | None:
    """What a file is in place of what its name says, as `is …`; None where nothing is known.

    `is_text`: it should be one, such as a config or a vocabulary; else weights.
    """
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty; fetch it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file; run `git lfs pull` where it was cloned"
    if head.startswith(b"../") and b"\n" not in head.strip():
        return "is a link that was saved as a text; copy the file that it names"
    if start.startswith(_PAGES):
        return "is a web page, not the file; its download needs a login or another address"
    if archive := _archive(path, head):
        return f"is {archive}"
    return None if is_text else _weights(path, head)


def _archive(path: Path, head: bytes) -> str | None:
    for magic, what in _ARCHIVES.items():
        if head.startswith(magic):
            return f"{what} {path.name}"
    if head[257:262] == b"ustar":
        return f"a tar archive: unpack it (tar -xf) {path.name}"
    return None


def _weights(path: Path, head: bytes) -> str | None:
    """For what should be weights."""
    if head.isascii() and head[:80].decode().isprintable():
        return f"is a text, not weights: {head[:60].decode().strip()!r}"
    size = path.stat().st_size
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            return "is cut short: its download did not end; fetch it again"
        try:
            with zipfile.ZipFile(path) as archive:
                is_weights = any(name.endswith("data.pkl") for name in archive.namelist())
        except DAMAGED_ZIP as error:
            return f"is damaged ({error}); fetch it again"
        return None if is_weights else f"is a zip archive: unpack it (unzip) {path.name}"
    expected = _safetensors_bytes(path)
    if expected is not None and size != expected:
        return f"is cut short: {size} of {expected} bytes; its download did not end, fetch it again"
    return None


def _safetensors_bytes(path: Path) -> int | None:
    """How long the file must be by its own header; None where it has none."""
    if path.suffix != ".safetensors":
        return None
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(header_bytes, 10**8)))
            ends = [entry["data_offsets"][1] for entry in header.values() if "dtype" in entry]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return 8 + header_bytes if header_bytes < 10**8 else None
    return 8 + header_bytes + max(ends, default=0)


def folder(path: Path) -> str | None:
    """What a path is in place of a checkpoint's folder, and what to do; None where it is one."""
    if str(path).startswith(_SCHEMES) and not path.exists():
        return "is an address: fetch the folder first, then give its path"
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        return f"does not exist{_quoted(path) or _in_place_of(path) or _beside(path)}"
    if path.name.endswith(".partial"):
        return "is what a conversion that did not end has left; convert again"
    return None if (path / CONFIG_NAME).is_file() else _without_config(path)


def _beside(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    names = [other.name for other in visible(path.parent.iterdir(), path.parent)]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"; is it {close[0]}?" if close else ""


def _quoted(path: Path) -> str:
    name = str(path)
    is_quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
    return "; the quotes are part of the name: leave them out" if is_quoted else ""


def _file(path: Path) -> str:
    """A file where a folder is wanted."""
    holds_config = (path.parent / CONFIG_NAME).is_file()
    if holds_config:
        return f"is a file: give the folder that holds it, {path.parent}"
    with path.open("rb") as file:
        head = file.read(512)
    archive = _archive(path, head)
    if archive is None and zipfile.is_zipfile(path):
        archive = f"a zip archive: unpack it (unzip) {path.name}"
    return f"is {archive}, and give the folder" if archive else "is a file; a folder is wanted"


def _without_config(path: Path) -> str:
    """A folder without a config: the right one may lie above or below."""
    if (path.resolve().parent / CONFIG_NAME).is_file():
        return f"is one folder too low: the checkpoint is {path.resolve().parent}"
    below = _checkpoints_below(path)
    if len(below) == 1:
        return f"is one folder too high: the checkpoint is {below[0]}"
    if below:
        names = ", ".join(str(found.relative_to(path)) for found in below[:5])
        return f"holds several checkpoints: {names}; give one of them"
    inside = visible(path.iterdir(), path)
    if not inside:
        return "is an empty folder"
    if len(inside) == 1 and inside[0].is_file() and "archive" in (what := _file(inside[0])):
        return f"holds only {inside[0].name}, which {what}"
    is_run = (path / "log.jsonl").is_file() and (path / "checkpoints").is_dir()
    ship = "is a training's run: `python -m models.train ship` makes a checkpoint of it"
    return ship if is_run else f"holds no {CONFIG_NAME}{_in_place_of(path / CONFIG_NAME)}"


def _checkpoints_below(path: Path) -> list[Path]:
    """Folders with a config, or with one for each stage, or with a folder of them."""
    folders = (config.parent for config in _below(path, CONFIG_NAME))
    plain = {at.parent if at.name in _STAGES and at.parent != path else at for at in folders}
    nested = {at.parent for at in _below(path, "configs") if taming_configs(at.parent)}
    return sorted(plain | nested)


def _below(path: Path, name: str) -> list[Path]:
    patterns = ("/".join(["*"] * depth + [name]) for depth in range(1, _DEPTH + 1))
    return visible((found for pattern in patterns for found in path.glob(pattern)), path)
