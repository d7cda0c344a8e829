"""Archives as strangers make them."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import CorruptFileError, UnsafeArchiveError
from models.pull.unpack import Limits, unpack

Add = Callable[[tarfile.TarFile], None]


def file(name: str, content: bytes = b"x", **fields: object) -> Add:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for field, value in fields.items():
            setattr(member, field, value)
        tar.addfile(member, io.BytesIO(content))

    return add


def special(name: str, kind: bytes, target: str = "") -> Add:
    return file(name, b"", type=kind, linkname=target)


def archive_of(path: Path, *members: Add, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # any mode that it knows
        for add in members:
            add(tar)
    return path


def escapes(folder: Path) -> list[Path]:
    """All that lies in the test's folder beside archives."""
    return [path for path in folder.rglob("*") if path.suffix != ".tar"]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "w"])
def test_files_and_folders_come_out_as_they_went_in(mode: str, tmp_path: Path) -> None:
    large = os.urandom((1 << 20) + 7)
    path = archive_of(
        tmp_path / "a.tar",
        special("1.3B", tarfile.DIRTYPE),
        file("1.3B/large", large, mode=0o4777),
        file("./1.3B/tokenizer/vocab.json", b"{}"),
        file("1.3B/" + "n" * 200, b"long"),
        mode=mode,
    )
    unpack(path, tmp_path / "out")
    assert (tmp_path / "out/1.3B/large").read_bytes() == large
    assert not (tmp_path / "out/1.3B/large").stat().st_mode & 0o7022
    assert (tmp_path / "out/1.3B/tokenizer/vocab.json").read_bytes() == b"{}"
    assert (tmp_path / "out/1.3B" / ("n" * 200)).read_bytes() == b"long"
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "out"}


HOSTILE: dict[str, tuple[Add, ...]] = {
    "a parent": (file("../evil"),),
    "a parent in the middle": (file("a/../../evil"),),
    "an absolute name": (file("/evil"),),
    "a Windows name": (file("..\\evil"),),
    "a symbolic link": (special("a", tarfile.SYMTYPE, "/etc"), file("a/evil")),
    "a link inside": (file("a"), special("b", tarfile.SYMTYPE, "a")),
    "a hard link": (special("a", tarfile.LNKTYPE, "../a.tar"),),
    "a device": (special("a", tarfile.CHRTYPE),),
    "a pipe": (special("a", tarfile.FIFOTYPE),),
    "a name twice": (file("a"), file("./a", b"other")),
    "a file as a folder": (file("a"), file("a/b")),
    "a depth": (file("/".join("d" * 20)),),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_plain_file_inside_is_refused_and_leaves_nothing(
    name: str, tmp_path: Path
) -> None:
    path = archive_of(tmp_path / "a.tar", file("good"), *HOSTILE[name])
    with pytest.raises(UnsafeArchiveError):
        unpack(path, tmp_path / "out")
    assert escapes(tmp_path) == []


BOMBS: dict[str, tuple[Add, ...]] = {
    "one large file": (file("a", bytes(2 << 20)),),
    "many files": tuple(file(f"{number}", bytes(100)) for number in range(101)),
    "a header that asks for much": (file("a", pax_headers={"comment": "x" * (2 << 20)}),),
    "files that together are too large": (file("a", bytes(600_000)), file("b", bytes(600_000))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_go_off_nowhere(name: str, tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar", *BOMBS[name])
    with pytest.raises(UnsafeArchiveError):
        unpack(path, tmp_path / "out", Limits(max_bytes=1 << 20, max_members=100))
    assert escapes(tmp_path) == []


def test_a_size_that_a_header_only_claims_is_refused_unread(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a")
    member.size = 1 << 50
    path = tmp_path / "a.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(UnsafeArchiveError, match="more than"):
        unpack(path, tmp_path / "out")


def test_zeros_behind_the_end_have_a_limit(tmp_path: Path) -> None:
    plain = archive_of(tmp_path / "plain.tar", file("a"), mode="w").read_bytes()
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(plain + bytes(8 << 20)))
    with pytest.raises(UnsafeArchiveError, match="longer than"):
        unpack(path, tmp_path / "out", Limits(max_bytes=1 << 20))
    assert escapes(tmp_path) == []


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_damaged_archive_leaves_nothing(mode: str, tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.tar", file("a", os.urandom(100_000)), file("b"), mode=mode)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (whole[:-5], whole[: len(whole) // 2], bytes(flipped), whole[:3]):
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match="is no whole tar archive"):
            unpack(path, tmp_path / "out")
        assert escapes(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"PK\x03\x04" + bytes(600), "is no whole tar"), (b"<html>log in", "is a web page")],
)
def test_what_is_no_archive_is_told(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(CorruptFileError, match=words):
        unpack(tmp_path / "a.tar", tmp_path / "out")
