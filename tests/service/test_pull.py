"""`mindalle pull` as a person calls it, from a server on this machine and no other network."""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from models.files.checkpoint import open_checkpoint
from models.presets.register import get_preset
from models.verify import compare
from service import cli
from tests.models.golden import GOLDEN
from tests.models.pull.shelf import Shelf, serving
from tests.models.pull.test_checkpoint import packed

ROOT = Path(__file__).parents[2]
SOURCE = GOLDEN / "mindalle_text"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with serving(Shelf({"/1.3B.tar.gz": packed(SOURCE, "1.3B")}, breaks_after=[70_000])) as one:
        yield one


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing but this machine answers
    monkeypatch.chdir(tmp_path)


def call(shelf: Shelf, *more: str) -> list[str]:
    digest = hashlib.sha256(shelf.files["/1.3B.tar.gz"]).hexdigest()
    origin = ["--from", f"{shelf.url}/1.3B.tar.gz", "--sha256", digest, "--no-ranker"]
    return ["pull", "mindalle-1.3b", *origin, *more]


def drawn(folder: Path, name: str) -> bytes:
    """The golden prompt's picture."""
    options = ["--preset", "mindalle-1.3b", "--checkpoint", str(folder), "--seed", "3", "-n", "1"]
    prompt = "A painting of a tree on the ocean"  # the first of the recorded ones
    assert cli.main(["generate", prompt, *options, "--num-candidates", "2", "-o", name]) == 0
    return Path(name).read_bytes()


def test_pulled_twice_it_draws_the_same_picture_as_the_official_folder(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = drawn(SOURCE, "wanted.png")
    for number in range(2):
        assert cli.main(call(shelf, "--accept-licence")) == 0
        (command,) = re.findall(r"^  (mindalle serve .*)$", capsys.readouterr().out, re.M)
        words = shlex.split(command)
        assert words[2:5] == ["--model", "mindalle-1.3b", "--checkpoint"]
        assert cli.parser_of("serve").parse_args(words[2:]).checkpoint
        assert drawn(Path(words[5]), f"{number}.png") == wanted
    assert compare.run(Path(words[5]), SOURCE)
    assert [wanted for _, wanted, _ in shelf.asked] == [None, "bytes=70000-"]
    shutil.rmtree("data")
    assert cli.main(call(shelf, "--accept-licence", "--out", "other place")) == 0
    assert "--checkpoint 'other place'" in capsys.readouterr().out


def test_a_process_that_is_killed_has_lost_nothing_that_came(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.hold = Event()
    words = call(shelf, "--accept-licence", "--out", str(tmp_path / "out"))
    with subprocess.Popen([sys.executable, "-m", "service", *words], cwd=ROOT) as process:
        part = tmp_path / "out.pull"
        until = time.monotonic() + 30
        while not any(path.stat().st_size >= 70_000 for path in part.glob("*.part")):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    shelf.hold.set()
    assert cli.main(words) == 0
    assert [wanted for _, wanted, _ in shelf.asked] == [None, "bytes=70000-"]
    assert open_checkpoint(tmp_path / "out", verify_sha256=True).layout == "converted"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("Yes\n", 0), ("\n", 1), ("", 1)])
def test_the_licence_is_shown_and_asked_for(
    answer: str,
    status: int,
    shelf: Shelf,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal(answer))
    assert cli.main(call(shelf)) == status
    said = capsys.readouterr()
    assert get_preset("mindalle-1.3b").licence in said.out
    assert "https://github.com/kakaobrain/minDALL-E" in said.out
    assert bool(shelf.asked) == (status == 0)
    assert ("not accepted; nothing was fetched" in said.err) == (status == 1)


def test_where_nobody_can_be_asked_nothing_is_fetched(
    shelf: Shelf, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert cli.main(call(shelf)) == 2
    assert "--accept-licence" in capsys.readouterr().err
    assert shelf.asked == []


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["mindalle-13b"], "unknown preset", 2),
        (["emoji"], "nothing to pull", 2),
        (["vqgan-ffhq"], "--from", 2),
        (["mindalle-1.3b", "--sha256", "0" * 64], "give that, too", 2),
        (["mindalle-1.3b", "--sha256", "12"], "64 hexadecimal digits", 2),
        (["clip", "--from", "x"], "MINDALLE_PULL__MIRRORS", 2),
        (["mindalle-1.3b", "--from", "none.tar"], "none.tar: No such file", 2),
        (["mindalle-1.3b", "--from", "URL/none"], "/none answers with HTTP 404", 1),
    ],
)
def test_what_goes_wrong_is_one_line(
    arguments: list[str],
    words: str,
    status: int,
    shelf: Shelf,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words_typed = [word.replace("URL", shelf.url) for word in arguments]
    assert cli.main(["pull", *words_typed, "--accept-licence"]) == status
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mindalle pull: ")
    assert words in line


def test_a_mirror_that_is_none_is_refused_at_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("mirror", "ftp://mirror.example", "https://me:word@mirror.example"):
        monkeypatch.setenv("MINDALLE_PULL__MIRRORS", wrong)
        assert cli.main(["pull", "clip", "--accept-licence"]) == 2
        line = capsys.readouterr().err
        assert line.startswith("mindalle pull: MINDALLE_PULL__MIRRORS: ")
        assert "word" not in line


def test_fetching_needs_no_torch() -> None:
    program = "import sys, service.commands.pull; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
