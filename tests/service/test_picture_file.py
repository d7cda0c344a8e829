"""Where commands put pictures: what can't be there is told first, and what is drawn is kept."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from service import cli
from service.worker.pictures import png
from tests.service.files import file_of, noise, pixels_of
from tests.service.live_api import LiveApi


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.chdir(tmp_path)


def _full() -> TextIO:
    return Path("/dev/full").open("w", buffering=1)


def _closed() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


@pytest.fixture(params=[_full, _closed])
def deaf(request: pytest.FixtureRequest) -> Iterator[TextIO]:
    """A standard output that takes no line."""
    with request.param() as stream:
        yield stream


def test_a_picture_is_kept_where_nobody_reads_of_it(
    deaf: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", deaf)
    assert cli.main(["generate", "a cat", "--num-candidates", "1", "-o", "one.png"]) == 1
    assert png.read(Path("one.png")).recipe.prompt == "a cat"


def test_so_is_what_codes_make(deaf: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.png").write_bytes(file_of(noise()))
    monkeypatch.setattr(sys, "stdout", deaf)
    assert cli.main(["encode", "a.png", "-o", "again.png"]) == 1
    assert pixels_of(Path("again.png").read_bytes()).shape == (32, 32, 3)


@pytest.mark.usefixtures("painter")
async def test_so_is_one_of_a_service(
    deaf: TextIO, api: LiveApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", deaf)
    call = ["generate", "a cat", "--url", api.url, "-o", "one.png"]
    assert await asyncio.to_thread(cli.main, call) == 1
    assert Path("one.png").stat().st_size


@pytest.mark.parametrize(
    "call",
    [
        ("generate", "a"),
        ("generate", "a", "--url", "127.0.0.1:9"),
        ("vary", "a.png"),
        ("encode", "a.png"),
    ],
)
def test_a_folder_is_no_place_and_told_before_drawing(
    call: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("d.png").mkdir()
    Path("a.png").write_bytes(file_of(noise()))
    assert cli.main([*call, "-o", "d.png"]) == 2
    assert "d.png is a folder" in capsys.readouterr().err


def test_a_folder_where_a_picture_would_be_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "a", "--num-candidates", "1", "-o", "a.png"]) == 0
    Path("a-replay.png").mkdir()
    capsys.readouterr()
    assert cli.main(["replay", "a.png"]) == 2
    assert "a-replay.png is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(("output", "told"), [("/proc/x.png", "/proc/x.png"), ("n" * 300, "long")])
def test_a_place_that_takes_no_file_is_told_with_the_seed_at_least(
    output: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["generate", "a", "--num-candidates", "1", "--seed", "7", "-o"]
    assert cli.main([*call, output.removesuffix(".png") + ".png"]) in (1, 2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert "long" in line or "--seed 7" in line
