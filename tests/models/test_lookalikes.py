"""Folders and files as people copy them; each recognised, and said in one line with what to do."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.errors import CheckpointError, CorruptFileError, HashMismatchError
from models.files.checkpoint import Checkpoint, load_stage2, load_tokenizer, open_checkpoint
from models.files.convert import convert
from models.files.shards import verify
from models.presets import WEIGHTS_FOLDER
from models.rerank import clip_files
from models.tokenizer import Tokenizer
from models.train.data.folder import FolderFiles
from tests.models.golden import GOLDEN

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 132735232\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of an official text model's folder."""
    return Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """A copy of a converted folder, with CLIP."""
    return Path(shutil.copytree(WEIGHTS_FOLDER / "emoji", tmp_path / "emoji"))


def load_all(folder: Path) -> Checkpoint:
    """Read every file of the folder."""
    checkpoint = open_checkpoint(folder)
    load_tokenizer(checkpoint)
    load_stage2(checkpoint)
    if checkpoint.preset.clip:
        clip_files.load(checkpoint.preset.clip, folder)
    return checkpoint


def refusal(work: Callable[[], object]) -> str:
    """What a person reads: one line."""
    with pytest.raises(CheckpointError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_systems_keep_for_themselves_is_never_looked_at(folder: Path, tmp_path: Path) -> None:
    weights = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in weights:
        path.with_name(f"._{path.name}").write_bytes(b"\0\x05\x16\7\0\2\0\0Mac OS X")
    for place in (folder, folder / "tokenizer"):
        (place / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (place / "Thumbs.db").write_bytes(b"\xd0\xcf")
        (place / ".ipynb_checkpoints").mkdir()
        (place / ".ipynb_checkpoints" / "x-vocab.json").write_text("{}")
        (place / "__MACOSX").mkdir()
    assert load_all(folder).layout == "official"
    convert(folder, tmp_path / "new")
    names = {path.name for path in (tmp_path / "new").rglob("*")}
    assert not any(name.startswith(".") or name in ("__MACOSX", "Thumbs.db") for name in names)


def test_hidden_pictures_train_nobody(tmp_path: Path) -> None:
    picture = WEIGHTS_FOLDER / "emoji/grid.png"
    shutil.copyfile(picture, tmp_path / "one.png")
    (tmp_path / "._one.png").write_bytes(b"\0\x05\x16\7")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX/one.png").write_bytes(b"\0\x05\x16\7")
    assert [path.name for path in FolderFiles(tmp_path).paths] == ["one.png"]


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


def test_a_folder_that_is_one_too_high(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX/config.yaml").touch()
    message = refusal(lambda: open_checkpoint(tmp_path))
    assert f"is one folder too high: the checkpoint is {folder}" in message


def test_a_cache_of_a_repository(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--kakaobrain--minDALL-E/snapshots/0a1b2c"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    message = refusal(lambda: open_checkpoint(tmp_path / "models--kakaobrain--minDALL-E"))
    assert f"one folder too high: the checkpoint is {snapshot}" in message


def test_a_folder_of_several_checkpoints(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    message = refusal(lambda: open_checkpoint(tmp_path))
    assert "holds several checkpoints: model, other; give one of them" in message


def test_a_family_with_a_config_for_each_stage(tmp_path: Path) -> None:
    for stage in ("stage1", "stage2"):
        (tmp_path / "rq" / stage).mkdir(parents=True)
        (tmp_path / "rq" / stage / "config.yaml").write_text("arch: {}")
    high = refusal(lambda: open_checkpoint(tmp_path))
    assert f"one folder too high: the checkpoint is {tmp_path / 'rq'}" in high
    low = refusal(lambda: open_checkpoint(tmp_path / "rq/stage2"))
    assert f"one folder too low: the checkpoint is {tmp_path / 'rq'}" in low


def test_a_folder_that_is_one_too_low(folder: Path) -> None:
    message = refusal(lambda: open_checkpoint(folder / "tokenizer"))
    assert f"is one folder too low: the checkpoint is {folder}" in message


def test_a_file_of_the_folder_in_place_of_it(folder: Path) -> None:
    message = refusal(lambda: open_checkpoint(folder / "stage2_last.ckpt"))
    assert f"is a file: give the folder that holds it, {folder}" in message


def test_an_archive_in_place_of_the_folder(folder: Path, tmp_path: Path) -> None:
    zipped = Path(shutil.make_archive(str(tmp_path / "a"), "zip", folder))
    tarred = Path(shutil.make_archive(str(tmp_path / "b"), "gztar", folder))
    plain = tmp_path / "c.tar"
    with tarfile.open(plain, "w") as archive:
        archive.add(folder, "model")
    for path, tool in ((zipped, "unzip"), (tarred, "tar -xzf"), (plain, "tar -xf")):
        message = refusal(lambda path=path: open_checkpoint(path))  # type: ignore[misc]  # a default
        assert f"unpack it ({tool}) {path.name}, and give the folder" in message


def test_an_archive_inside_the_folder(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "downloads"
    home.mkdir()
    shutil.make_archive(str(home / "model"), "zip", folder)
    message = refusal(lambda: open_checkpoint(home))
    assert "holds only model.zip, which is a zip archive: unpack it" in message


def test_an_archive_of_other_things_in_place_of_weights(folder: Path) -> None:
    with zipfile.ZipFile(folder / "stage2_last.ckpt", "w") as archive:
        archive.writestr("config.yaml", "a: 1")
    assert "is a zip archive: unpack it (unzip)" in refusal(lambda: load_all(folder))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("https://hub.example/models/x", "is an address: fetch the folder first"),
        ('"{}"', "the quotes are part of the name"),
        ("{}s", "does not exist; is it model?"),
    ],
)
def test_what_is_no_folder_at_all(folder: Path, given: str, what: str) -> None:
    path = Path(given.format(folder))
    assert what in refusal(lambda: open_checkpoint(path))


def test_what_a_conversion_that_did_not_end_has_left(folder: Path) -> None:
    partial = folder.rename(folder.with_name("model.partial"))
    assert "a conversion that did not end" in refusal(lambda: open_checkpoint(partial))


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    assert "is an empty folder" in refusal(lambda: open_checkpoint(tmp_path))


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
