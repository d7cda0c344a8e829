"""How a training command ends where it can't go on: in words, with a status."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from models.train import __main__ as commands


def test_a_package_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers.implementations.char_level_bpe", None)
    monkeypatch.delitem(sys.modules, "models.train.data.tokens", raising=False)
    monkeypatch.delitem(sys.modules, "models.train.bpe", raising=False)
    assert commands.main(["bpe"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("bpe: tokenizers.implementations.char_level_bpe is not installed: pip")


def test_a_gpus_memory_that_runs_out_is_told_in_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_argv: list[str]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("models.train.bpe.main", full)
    assert commands.main(["bpe"]) == 1
    assert capsys.readouterr().err == "bpe: CUDA out of memory. Tried to allocate 2.00 GiB.\n"


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_help_shows_how_a_command_is_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        commands.main([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m models.train {name} ")


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_help_says_what_every_option_is_for(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        commands.main([name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    mute = [
        line
        for line, following in pairwise([*lines, ""])
        if re.match(r"  [-\w]", line)
        and not re.search(r"\S {2,}\S", line)
        and not following.startswith(" " * 10)
    ]
    assert not mute


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in commands.COMMANDS)


def test_ctrl_c_ends_a_command_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rglob", interrupted)
    assert commands.main(["bpe", "--data", str(tmp_path)]) == 130


def test_a_tokenizer_that_is_there_is_kept_and_that_is_said(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["bpe", "--data", str(pictures), "--out", str(tmp_path / "words")]
    assert commands.main(options) == 0
    assert "kept" not in capsys.readouterr().out
    before = [path.read_bytes() for path in sorted((tmp_path / "words").iterdir())]
    assert commands.main([*options, "--size", "200"]) == 0
    assert f"kept: {tmp_path / 'words'} holds a tokenizer" in capsys.readouterr().out
    assert before == [path.read_bytes() for path in sorted((tmp_path / "words").iterdir())]
