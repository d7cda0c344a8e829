"""`mindalle edit`, `vary` and `replay` of what they made, on `tiny`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from service import cli
from service.jobs import Recipe
from service.sources.source import Source, sha256
from service.worker.pictures import png
from tests.service.files import file_of, mask_of, noise, pixels_of, square_hole


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(file_of(noise()))
    Path("mask.png").write_bytes(mask_of(square_hole()))
    Path("other.png").write_bytes(file_of(noise(seed=9)))


def test_an_edit_can_be_made_again_from_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    call = ["edit", "a.png", "a red cube", "--mask", "mask.png", "-n", "1", "--seed", "4"]
    assert cli.main([*call, "-o", "e.png"]) == 0
    hole = square_hole()
    assert np.array_equal(pixels_of(Path("e.png").read_bytes())[~hole], noise()[~hole])
    assert cli.main(["replay", "e.png", "--image", "a.png", "--mask", "mask.png"]) == 0
    assert "the same bytes" in capsys.readouterr().out
    assert cli.main(["replay", "e.png"]) == 2
    assert "give it with --image" in capsys.readouterr().err
    assert cli.main(["replay", "e.png", "--image", "other.png", "--mask", "mask.png"]) == 2
    assert "other.png is not the file" in capsys.readouterr().err


def test_variations_need_no_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    for share in (["--keep", "0.25"], ["--strength", "0.5"], []):
        call = ["vary", "a.png", "-n", "1", "--num-candidates", "2", "-o", "v.png", *share]
        assert cli.main(call) == 0
        assert cli.main(["replay", "v.png", "--image", "a.png"]) == 0
        assert "the same bytes" in capsys.readouterr().out
    assert cli.main(["replay", "v.png", "--image", "a.png", "--mask", "mask.png"]) == 2
    assert "drawn from none: leave out --mask" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "begin"), [("again.png", b"\x89PNG"), ("again.jpg", b"\xff\xd8")])
def test_codes_are_printed_and_their_picture_is_written(
    name: str, begin: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["encode", "a.png", "-o", name]) == 0
    told = json.loads(capsys.readouterr().out)
    data = Path(name).read_bytes()
    again = pixels_of(data)
    assert data.startswith(begin)
    assert np.array(told["codes"]).shape == (16, 1)
    assert 0 < told["psnr_db"] < 60
    assert again.shape == noise().shape


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["vary", "none.png"], "none.png"),
        (["vary", "mask.txt"], "no PNG, JPEG or WebP"),
        (["vary", "a.png", "--keep", "2"], "must be a number from 0 to 1"),
        (["edit", "a.png", "x", "--mask", "other.png"], "alpha channel"),
        (["replay", "decoded.png", "--image", "codes.json"], "/v1/images/decode"),
    ],
)
def test_what_is_wrong_is_one_line(
    call: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mask.txt").write_text("no picture")
    Path("codes.json").write_bytes(b"[[1]]")
    source = Source(sha256(b"[[1]]"), keep=1.0, is_codes=True)
    record = png.Record.of(Recipe("tiny", None, 0, source=source), 0, None, has_prompt=True)
    Path("decoded.png").write_bytes(png.encode(noise(), "png", record))
    assert cli.main(call) != 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert os.sep + "tmp" not in line
