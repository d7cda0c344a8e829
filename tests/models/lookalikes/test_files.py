"""Files that are something else, cut short, renamed, or written by another system: recognised, and
said in one line with what to do, or read all the same.
"""

from __future__ import annotations

import gzip
import json
import logging
import zipfile
from pathlib import Path

import pytest
import torch

from models import lookalikes
from models.errors import CorruptFileError, HashMismatchError
from models.files.checkpoint import load_stage2, open_checkpoint
from models.files.shards import verify
from models.tokenizer import Tokenizer
from tests.models.lookalikes.conftest import load_all
from tests.models.refusals import refusal

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 132735232\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"


OFFICIAL = ["config.yaml", "stage2_last.ckpt", "tokenizer/bpe-16k-vocab.json",
            "tokenizer/bpe-16k-merges.txt"]  # fmt: skip
CONVERTED = ["manifest.json", "config.yaml", "stage2-00000.safetensors", "clip/clip.safetensors",
             "clip/open_clip_config.json"]  # fmt: skip


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_pointer_or_a_page_in_place_of_a_file_of_the_official_layout(
    folder: Path, name: str
) -> None:
    _check_replaced(folder, name)


@pytest.mark.parametrize("name", CONVERTED)
def test_a_pointer_or_a_page_in_place_of_a_file_of_the_converted_layout(
    converted: Path, name: str
) -> None:
    _check_replaced(converted, name)


def _check_replaced(folder: Path, name: str) -> None:
    for data, what in (
        (LFS, "is a Git LFS pointer, not the file; run `git lfs pull`"),
        (PAGE, "is a web page, not the file"),
        (b"", "is empty; fetch it again"),
        (gzip.compress(b"x" * 99), "is a gzip archive: unpack it"),
        (b"../../blobs/0a1b2c", "is a link that was saved as a text"),
    ):
        (folder / name).write_bytes(data)
        message = refusal(lambda: load_all(folder))
        assert f"{folder / name} {what}" in message


def test_a_message_in_place_of_weights(folder: Path, converted: Path) -> None:
    for path in (folder / "stage2_last.ckpt", converted / "stage2-00000.safetensors"):
        path.write_bytes(b'{"error": "Repository not found"}')
        message = refusal(lambda path=path: load_all(path.parent))  # type: ignore[misc]  # a default
        assert 'is a text, not weights: \'{"error": ' in message


def test_a_download_that_was_cut_short(folder: Path, converted: Path) -> None:
    for path in (
        folder / "stage2_last.ckpt",
        converted / "stage2-00000.safetensors",
        converted / "clip/clip.safetensors",
    ):
        data = path.read_bytes()
        for size in (len(data) // 2, len(data) - 1, 100):
            path.write_bytes(data[:size])
            home = folder if path.parent == folder else converted
            assert "cut short" in refusal(lambda home=home: load_all(home))  # type: ignore[misc]  # a default
        path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".part", ".crdownload", ".incomplete", ".aria2"])
def test_a_download_that_goes_on(folder: Path, converted: Path, suffix: str) -> None:
    for path in (
        folder / "stage2_last.ckpt",
        folder / "config.yaml",
        converted / "stage2-00000.safetensors",
    ):
        unfinished = path.with_name(path.name + suffix)
        path.rename(unfinished)
        message = refusal(lambda path=path: load_all(path.parent))  # type: ignore[misc]  # a default
        assert f"{unfinished.name}: its download did not end" in message
        unfinished.rename(path)


RENAMED = {
    "stage2_last.ckpt": ["stage2_last (1).ckpt", "Stage2_last.ckpt", "stage2_last.ckpt.txt"],
    "config.yaml": ["config.yml", "config.yaml.txt", "Config.yaml", "config (1).yaml"],
}


@pytest.mark.parametrize(("name", "other"), [(n, o) for n, them in RENAMED.items() for o in them])
def test_a_file_of_nearly_the_right_name(folder: Path, name: str, other: str) -> None:
    (folder / name).rename(folder / other)
    assert f"is it {other}?" in refusal(lambda: load_all(folder))


def test_a_link_that_leads_nowhere(folder: Path) -> None:
    path = folder / "stage2_last.ckpt"
    path.unlink()
    path.symlink_to("../blobs/0a1b2c")
    message = refusal(lambda: load_all(folder))
    assert "it is a link to ../blobs/0a1b2c, which is not there; copy the files (cp -L)" in message


def test_an_archive_of_other_things_in_place_of_weights(folder: Path) -> None:
    with zipfile.ZipFile(folder / "stage2_last.ckpt", "w") as archive:
        archive.writestr("config.yaml", "a: 1")
    assert "is a zip archive: unpack it (unzip)" in refusal(lambda: load_all(folder))


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_saved_from_inside_a_wrapper_load_and_say_so(
    folder: Path, wrapper: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "stage2_last.ckpt"
    mapped = load_stage2(open_checkpoint(folder)).state_dict()
    wanted = {name: tensor.clone() for name, tensor in mapped.items()}
    state = torch.load(path, weights_only=True)["state_dict"]
    torch.save({"state_dict": {f"{wrapper}{name}": tensor for name, tensor in state.items()}}, path)
    with caplog.at_level(logging.WARNING):
        found = load_stage2(open_checkpoint(folder)).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == wrapper.count(".")
    assert str(path) in said[0]
    assert "`mindalle convert`" in said[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_config_in_an_encoding_with_a_mark(folder: Path, encoding: str) -> None:
    path = folder / "config.yaml"
    before = open_checkpoint(folder).preset
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode(encoding))
    assert open_checkpoint(folder).preset == before


def test_line_ends_of_another_system_change_no_token(folder: Path) -> None:
    prompt = "A painting of a tree on the ocean"
    before = Tokenizer.load(folder / "tokenizer", 64).encode(prompt)
    for path in (folder / "tokenizer").iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert Tokenizer.load(folder / "tokenizer", 64).encode(prompt) == before


def test_checksums_tell_a_pointer_from_damage(converted: Path) -> None:
    path = converted / "stage2-00000.safetensors"
    data = path.read_bytes()
    path.write_bytes(LFS)
    with pytest.raises(CorruptFileError, match="Git LFS pointer"):
        verify(converted)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(HashMismatchError):
        verify(converted)


def test_what_is_right_is_taken_for_nothing_else(folder: Path, converted: Path) -> None:
    assert load_all(folder).layout == "official"
    assert load_all(converted).layout == "converted"
    assert json.loads((converted / "manifest.json").read_text())["format"] == 1


def test_files_of_an_official_folder_are_looked_at_without_loading_them(folder: Path) -> None:
    """As `mindalle doctor` and `convert` do."""
    open_checkpoint(folder, verify_sha256=True)
    (folder / "tokenizer/bpe-16k-merges.txt").write_bytes(LFS)
    assert "Git LFS" in refusal(lambda: open_checkpoint(folder, verify_sha256=True))
    (folder / "stage1_last.ckpt").write_bytes(PAGE)
    assert "web page" in refusal(lambda: open_checkpoint(folder, verify_sha256=True))


@pytest.mark.parametrize("place", [0, 6])
def test_weights_with_a_damaged_directory_are_called_damaged(place: int, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"a": torch.zeros(1)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + place] = 0xFF
    path.write_bytes(content)
    assert "is damaged" in (lookalikes.content(path) or "")
