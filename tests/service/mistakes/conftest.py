"""No traceback for a user's mistake, in any command: one line on what to do, exit status 2.

Here is how a command is called and what it must say, in this process or in one of its own, with
`tiny`, no Redis and an empty folder to stand in. The mistakes are in the files beside it, by kind.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service import cli

ROOT = Path(__file__).parents[3]
PROMPTS = ROOT / "tests/data/prompts.json"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.setenv("MINDALLE_REDIS__URL", "redis://127.0.0.1:9/0")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command says, which must be one line, with exit status 2."""

    def called(*arguments: str) -> str:
        capsys.readouterr()
        assert cli.main(arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"mindalle {arguments[0]}: ")
        return str(line)

    return called


def as_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own: those that serve take over standard error."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=os.environ | {"MINDALLE_LOG_LEVEL": "error", "MINDALLE_AUTH": "off"} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
