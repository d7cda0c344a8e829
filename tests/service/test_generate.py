"""`mindalle generate`, and `replay` of what it made, on `tiny`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from models.presets.register import get_preset
from service.worker.pictures import png
from tests.service.commands import call, complaint


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.chdir(tmp_path)


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
