from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from models.presets.register import WEIGHTS_FOLDER, get_preset
from service import cli
from service.settings import describe
from service.worker.pictures import png

COMMANDS = sorted(cli.COMMANDS)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> int:
    """The exit status, argparse's included."""
    try:
        return cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """What came on stderr, which must be one line."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


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


WRONG = {
    "top_k of 0": (["--top-k", "0"], "top_k"),
    "top_k above the vocabulary": (["--top-k", "65"], "top_k"),
    "temperature NaN": (["--temperature", "nan"], "temperature"),
    "a temperature NaN for a server": (
        ["--url", "127.0.0.1:9", "--temperature", "0.5,nan"],
        "--temperature",
    ),
    "top_p NaN for a server": (
        ["--url", "127.0.0.1:9", "--top-p", "nan"],
        "--top-p: must be finite",
    ),
    "temperature 0": (["--temperature", "0"], "temperature"),
    "top_p above 1": (["--top-p", "1.5"], "top_p"),
    "no candidates": (["--num-candidates", "0"], "num_candidates"),
    "more candidates than a job has": (["--num-candidates", "97"], "must be in 1..96, not 97"),
    "a key for nobody": (["--api-key", "secret"], "--api-key is for the service that --url"),
    "more kept than drawn": (["--num-candidates", "2", "-n", "3"], "n:"),
    "more kept than a job has": (["-n", "97"], "n: must be in 1..96"),
    "unknown preset": (["--preset", "nope"], "unknown preset 'nope'"),
    "preset without weights": (["--preset", "mindalle-1.3b"], "checkpoint"),
    "missing checkpoint": (["--checkpoint", "nowhere"], "nowhere"),
    "unknown file ending": (["-o", "x.gif"], "x.gif"),
    "missing folder": (["-o", "no/x.png"], "no"),
    "text for a class model": (["--preset", "tiny-class"], "class"),
    "prompt for a model without": (["--preset", "tiny-uncond"], "no prompt"),
    "weights for a server": (["--url", "http://127.0.0.1:9", "--checkpoint", "."], "--checkpoint"),
    "server that is not there": (["--url", "http://127.0.0.1:9"], "127.0.0.1:9"),
}


@pytest.mark.parametrize(("flags", "named"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_to_generate_is_one_clear_line(
    flags: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("generate", "a cat", *flags) in (1, 2)
    assert named in complaint(capsys)


def test_a_picture_can_be_made_again_from_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--num-candidates", "3", "--seed", "7", "--top-k", "20"]
    assert call("generate", "a red heart", *flags, "-n", "1", "-o", "one.png") == 0
    recipe = png.read(tmp_path / "one.png").recipe
    assert (recipe.prompt, recipe.seed, recipe.top_k) == ("a red heart", 7, 20)
    assert "seed 7" in capsys.readouterr().out
    assert call("replay", "one.png") == 0
    assert "the same bytes" in capsys.readouterr().out
    again = (tmp_path / "one-replay.png").read_bytes()
    assert again == (tmp_path / "one.png").read_bytes()


def test_a_picture_made_again_is_written_where_it_can_be_as_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("generate", "a", "--num-candidates", "1", "-o", "one.jpg") == 0
    for name, told in {
        "two.png": "jpeg",
        "two.bmp": ".png",
        "nowhere/two.jpg": "nowhere is no folder",
    }.items():
        assert call("replay", "one.jpg", "-o", name) == 2
        assert told in complaint(capsys)
    for name in ("image", "mask"):
        assert call("replay", "one.jpg", f"--{name}", "one.jpg") == 2
        assert f"drawn from none: leave out --{name}" in complaint(capsys)
    (tmp_path / "also.jpg").hardlink_to(tmp_path / "one.jpg")
    for name in ("one.jpg", "also.jpg"):  # the file that it is compared with
        assert call("replay", "one.jpg", "--prompt", "b", "-o", name) == 2
        assert "another name" in complaint(capsys)
    assert call("replay", "one.jpg", "-o", "two.jpeg") == 0
    assert (tmp_path / "two.jpeg").read_bytes() == (tmp_path / "one.jpg").read_bytes()


def test_each_depth_has_its_own_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = ["--top-k", "64,32,16,8", "--top-p", "1,0.9,0.8,0.7", "--temperature", "1.2,1,1,0.8"]
    flags = ["--preset", "tiny-rq", "--seed", "7", "-n", "1", *lists]
    assert call("generate", "a red heart", *flags, "-o", "one.png") == 0
    assert png.read(tmp_path / "one.png").recipe.top_k == (64, 32, 16, 8)
    capsys.readouterr()
    assert call("replay", "one.png") == 0
    assert "the same bytes" in capsys.readouterr().out
    assert call("generate", "a cat", "--preset", "tiny-rq", "--top-k", "8,8") == 2
    assert "top_k: must be one value or 4 of them, not 2" in complaint(capsys)


def test_several_pictures_make_a_sheet_that_can_be_made_again(tmp_path: Path) -> None:
    assert call("generate", "a cat", "--num-candidates", "3", "--seed", "1", "-o", "all.png") == 0
    with Pillow.open(tmp_path / "all.png") as image:
        assert image.size == (64, 64)
    assert call("replay", "all.png", "-o", "again.png") == 0
    with Pillow.open(tmp_path / "all.png") as one, Pillow.open(tmp_path / "again.png") as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_as_many_are_drawn_as_are_kept(tmp_path: Path) -> None:
    more = get_preset("tiny").sampling.num_candidates + 1
    assert call("generate", "a cat", "-n", str(more), "-o", "all.png") == 0
    recipe = png.read(tmp_path / "all.png").recipe
    assert (recipe.n, recipe.num_candidates) == (more, more)


def test_a_long_and_an_empty_prompt_are_legal() -> None:
    for prompt in ("", "x" * 100_000):
        assert call("generate", prompt, "--num-candidates", "1", "-o", "picture.png") == 0


def test_replay_needs_the_prompt_where_the_file_lacks_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINDALLE_PROMPT_IN_PNG", "false")
    assert call("generate", "secret", "--num-candidates", "1", "--seed", "3", "-o", "s.png") == 0
    capsys.readouterr()
    assert call("replay", "s.png") == 2
    assert "--prompt" in complaint(capsys)
    assert call("replay", "s.png", "--prompt", "secret") == 0
    assert "the same bytes" in capsys.readouterr().out


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
