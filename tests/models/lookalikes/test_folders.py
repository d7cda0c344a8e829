"""Folders one too high or too low, archives in place of them, and what systems leave in them:
recognised, and said in one line with what to do.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from models.files.checkpoint import open_checkpoint
from models.files.convert import convert
from models.presets.register import WEIGHTS_FOLDER
from models.train.data.folder import FolderFiles
from models.train.loop.checkpoints import Checkpoints
from models.train.loop.run import Run
from tests.models.lookalikes.conftest import load_all
from tests.models.refusals import refusal


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


def test_a_trainings_run_is_to_be_shipped_first(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 1).save({"step": 1})
    Run(tmp_path, 0).log(1, loss=2.0)
    assert "`python -m models.train ship` makes a" in refusal(lambda: open_checkpoint(tmp_path))
