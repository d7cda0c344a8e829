import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch

from models.errors import CorruptFileError, MissingFileError, UnsafePickleError
from models.files.pickles import load_pickle, read_state_dict


class _Bomb:
    """Unpickling this would run a command that makes a file."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._target}",)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(1000)}


def test_a_state_dict_comes_back(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"epoch": 3, "state_dict": state}, path)
    read = read_state_dict(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_a_bare_state_dict_and_the_old_format_are_read(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_state_dict(path)["a"], state["a"])


def test_a_zip_is_mapped_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, path)
    tensor = read_state_dict(path)["a"]
    assert str(path) in Path("/proc/self/maps").read_text()
    assert tensor.sum() == 0


@pytest.mark.parametrize("is_torch_file", [True, False])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, is_torch_file: bool) -> None:
    path, target = tmp_path / "x.ckpt", tmp_path / "made"
    content = {"state_dict": {"a": torch.zeros(2)}, "extra": _Bomb(target)}
    if is_torch_file:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content["extra"]))
    with pytest.raises(UnsafePickleError, match=r"posix\.system"):
        load_pickle(path)
    assert not target.exists()


def test_an_object_of_any_other_class_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {}, "hparams": argparse.Namespace(a=1)}, path)
    with pytest.raises(UnsafePickleError, match=r"argparse\.Namespace"):
        load_pickle(path)


def test_objects_of_named_classes_may_stand_beside_tensors_and_do_nothing(tmp_path: Path) -> None:
    path, target = tmp_path / "x.ckpt", tmp_path / "made"
    beside = {"options": argparse.Namespace(a=1), "places": Path("a/b")}
    torch.save({"state_dict": {"a": torch.ones(2)}, **beside}, path)
    loaded = load_pickle(path, r"(argparse|pathlib)\..+")
    assert torch.equal(loaded["state_dict"]["a"], torch.ones(2))
    assert not isinstance(loaded["options"], argparse.Namespace)
    with pytest.raises(UnsafePickleError, match=r"asks for pathlib[.\w]*\.\w+, which"):
        load_pickle(path, r"argparse\..+")
    torch.save({**beside, "extra": _Bomb(target)}, path)
    with pytest.raises(UnsafePickleError, match=r"asks for posix\.system, which"):
        load_pickle(path, r"(argparse|pathlib)\..+")
    assert not target.exists()


def test_damaged_files_are_called_so(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    whole = tmp_path / "whole.ckpt"
    torch.save({"state_dict": state}, whole)
    content = whole.read_bytes()
    at = content.index(b"state_dict")
    scrambled = content[: at - 20] + b"\xff" * 25 + content[at + 5 :]
    for damaged in (b"", b"no pickle at all", content[:3000], content[:-20], scrambled):
        path = tmp_path / "x.ckpt"
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=r"x\.ckpt"):
            load_pickle(path)


def test_advice_to_load_unsafely_is_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(CorruptFileError) as caught:
        load_pickle(path)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"state_dict": {}},
        {"state_dict": {"a": 3}},
        {"state_dict": {"a": torch.zeros(2, dtype=torch.int64)}},
        {"state_dict": {"a": torch.zeros(2, dtype=torch.float8_e4m3fn)}},
        {"state_dict": {"a": torch.eye(2).to_sparse()}},
        {"state_dict": {"a": torch.zeros(2, device="meta")}},
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(content, path)
    with pytest.raises(CorruptFileError, match=r"x\.ckpt"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [(8, 0x01), (10, 8), (10, 99)],
    ids=["encrypted", "compressed", "compressed in an unknown way"],
)
def test_an_archive_whose_directory_lies_is_called_damaged(
    tmp_path: Path, state: dict[str, torch.Tensor], place: int, value: int
) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x01\x02", place), (b"PK\x03\x04", place - 2)):  # of the first entry
        content[content.find(magic) + at] = value
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"x\.ckpt is damaged"):
        load_pickle(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"x\.ckpt"):
        load_pickle(tmp_path / "x.ckpt")


def test_the_old_format_names_what_would_run_as_well(tmp_path: Path) -> None:
    path, target = tmp_path / "x.ckpt", tmp_path / "made"
    content = {"state_dict": {"a": torch.zeros(2)}, "extra": _Bomb(target)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafePickleError, match=r"posix\.system"):
        load_pickle(path)
    assert not target.exists()


def test_names_must_be_texts(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(2), 7: torch.zeros(2)}}, path)
    with pytest.raises(CorruptFileError, match="7 is no name"):
        read_state_dict(path)
