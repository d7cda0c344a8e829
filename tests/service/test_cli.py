from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.presets.register import WEIGHTS_FOLDER
from service import cli
from service.settings import describe
from tests.service.commands import call, complaint

COMMANDS = sorted(cli.COMMANDS)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.chdir(tmp_path)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert call() == 2


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "--help") == 0
    assert f"mindalle {name}" in capsys.readouterr().out


def test_a_misspelt_command_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("generte") == 2
    assert "generate" in complaint(capsys)


def test_the_api_command_loads_no_torch() -> None:
    code = "import sys, service.cli, service.commands.api; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_config_show_hides_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINDALLE_API_KEYS", "me:topsecret")
    monkeypatch.setenv("MINDALLE_REDIS__URL", "redis://:hunter2@db:6379/0")
    assert call("config", "show") == 0
    shown = capsys.readouterr().out
    assert "topsecret" not in shown
    assert "hunter2" not in shown
    assert len(shown.splitlines()) == len(dict(describe()))


def test_a_wrong_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINDALLE_WORKER__ROWS", "many")
    assert call("config", "show") == 2
    assert "MINDALLE_WORKER__ROWS" in complaint(capsys)


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (2, ("replay", "nothing.png")),
        (2, ("convert", "nowhere")),
        (2, ("verify", "nowhere", "--expected", "nowhere")),
        (1, ("dlq", "list")),  # Redis may be back in a minute
    ],
)
def test_what_is_not_there_is_one_clear_line(
    status: int,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", "redis://127.0.0.1:9/0")
    assert call(*arguments) == status
    assert complaint(capsys).startswith(f"mindalle {arguments[0]}: ")


def test_a_queue_that_is_away_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", "redis://:secret@127.0.0.1:9/0")
    assert call("dlq", "list") == 1
    told = complaint(capsys)
    assert "it does not answer; start it, check MINDALLE_REDIS__URL" in told
    assert "`mindalle serve`" in told
    assert "secret" not in told


def test_a_terminal_without_our_letters_gets_them_escaped() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "config", "show", "--describe"],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2026" in done.stdout
    assert done.stdout.isascii()


def test_output_that_can_not_be_written_is_a_failure_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "service", "config", "show"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == b"mindalle config: No space left on device\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "Tried to"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "you tried"),
        (MemoryError(), "bench: memory ran out"),
    ],
)
def test_a_lack_of_memory_is_one_line(
    error: Exception,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(_: object) -> int:
        raise error

    monkeypatch.setattr("models.measure.bench.run", full)
    assert call("bench") == 1
    line = complaint(capsys)
    assert line.startswith("mindalle bench: memory ran out")
    assert told in line


def test_other_faults_of_ours_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr("models.measure.bench.run", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        call("bench")


def test_a_copy_that_fails_names_both_files(capsys: pytest.CaptureFixture[str]) -> None:
    source = WEIGHTS_FOLDER / "emoji"
    had = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, had[1]))  # as if the disk were full
    try:
        assert call("convert", str(source), "-o", "small") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, had)
    line = complaint(capsys)
    assert line.startswith(f"mindalle convert: {source}/")
    assert " → small.partial/" in line


@pytest.mark.parametrize("redirections", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_the_exit_status_is_right_where_nobody_can_read_why(redirections: str) -> None:
    command = f'"$0" -m service none-of-these {redirections}'
    done = subprocess.run(["sh", "-c", command, sys.executable], check=False, timeout=60)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("package", "extras"),
    [("torch_fidelity.utils", "worker,eval"), ("resvg_py", "worker,train"), ("torch", "worker")],
)
def test_a_missing_package_is_told_with_the_extra_that_brings_it(package: str, extras: str) -> None:
    told = cli._explain(ModuleNotFoundError(name=package))
    assert told.startswith(f"{package} is not installed")
    assert told.endswith(f"pip install 'mindalle-serve[{extras}]'")
