"""Two commands at once in one folder would write over each other's checkpoints."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.train import __main__ as commands
from tests.models.train.torchrun import ENVIRONMENT

_AT_WORK = """
import sys
from argparse import Namespace
from pathlib import Path
from models.train.loop.processes import alone_in

@alone_in("run")
def work(args):
    print("at work", flush=True)
    sys.stdin.read()

work(Namespace(run=Path(sys.argv[1])))
"""


@contextmanager
def another_at_work(folder: Path) -> Iterator[None]:
    """Until it is killed."""
    program = [sys.executable, "-c", _AT_WORK, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, env=ENVIRONMENT, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        yield
        process.kill()


def test_a_second_command_is_refused_by_the_folders_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, empty = tmp_path / "run", tmp_path / "data"
    empty.mkdir()

    def said(command: str, option: str, *more: str) -> str:
        assert commands.main([command, option, str(folder), "--data", str(empty), *more]) == 1
        return capsys.readouterr().err

    with another_at_work(folder):
        for command in ("stage1", "stage2", "enhance", "pixels", "clip"):
            refusal = f"{command}: --run: another command is at work in {folder}"
            assert refusal in said(command, "--run")
        refusal = f"codes: --out: another command is at work in {folder}"
        assert refusal in said("codes", "--out", "--workers", "1")
    assert "holds no pictures" in said("clip", "--run")  # a killed one leaves the folder free
