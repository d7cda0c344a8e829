"""The scripts, run by the shells that they are for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from service.commands import shells

ASKED = {
    ("ser",): {"serve"},
    ("--v",): {"--version"},
    ("generate", "--pre"): {"--preset"},
    ("generate", "--preset", "emoji-"): {"emoji-hq"},
    ("worker", "--dev"): {"--device"},
    ("bench", "--dtype", "b"): {"bfloat16"},
    ("dlq", "re"): {"retry"},
    ("dlq", "list", "--l"): {"--limit"},
    ("serve", "--checkpoint", "weig"): {"weights of mine"},
    ("verify", "--expected", "weig"): {"weights of mine"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place with a folder and a file whose names begin alike, and the scripts."""
    (tmp_path / "weights of mine").mkdir()
    (tmp_path / "weight.txt").touch()
    all_commands = shells.commands()
    for shell, script in shells.SCRIPTS.items():
        (tmp_path / shell).write_text(script(all_commands), encoding="utf-8")
    return tmp_path


def output(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_bash_completes(folder: Path, words: tuple[str, ...]) -> None:
    program = """
source ./bash
compopt() { :; }  # says only how readline shall quote
COMP_WORDS=(mindalle "$@")
COMP_CWORD=$#
_mindalle
printf '%s\\n' "${COMPREPLY[@]}"
"""
    found = output(folder, "bash", "-c", program, "bash", *words)
    assert set(found.splitlines()) == ASKED[words]


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_fish_completes(folder: Path, words: tuple[str, ...]) -> None:
    line = " ".join(["mindalle", *words])
    found = output(folder, "fish", "--no-config", "-c", f"source ./fish; complete -C '{line}'")
    lines = [line.split("\t") for line in found.splitlines()]
    assert {name.rstrip("/").replace("\\", "") for name, *_ in lines} == ASKED[words]


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_zsh_is_told_what_there_is(folder: Path, words: tuple[str, ...]) -> None:
    """Up to zsh's own `_describe` and `_arguments`, which print here what they are told."""
    program = """
compdef() { :; }
_describe() { print -rl -- $commands; }
_arguments() { print -rl -- "$@"; }
source ./zsh
words=(mindalle "$@")
CURRENT=$#words
_mindalle
"""
    told = output(folder, "zsh", "-f", "-c", program, "zsh", *words).splitlines()
    (wanted,) = ASKED[words]
    if wanted == "weights of mine":
        assert any(line.startswith(words[-2]) and line.endswith(":_files -/") for line in told)
    else:
        assert any(wanted in line for line in told)


def test_what_a_flag_means_is_said_whatever_it_holds(folder: Path) -> None:
    told = output(folder, "zsh", "-f", "-c", "compdef() { :; }; source ./zsh; functions _mindalle")
    assert "MINDALLE_API__PORT; default\\: 8000" in told
    found = output(
        folder, "fish", "--no-config", "-c", "source ./fish; complete -C 'mindalle api --po'"
    )
    assert found.strip().endswith("(MINDALLE_API__PORT; default: 8000)")
