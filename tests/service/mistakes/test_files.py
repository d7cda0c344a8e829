"""Files that a command can't read as what they should be: pictures to make again, and prompts.

A file's name itself may hold any bytes.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from service import cli
from tests.service.mistakes.conftest import PROMPTS


def test_a_path_need_not_be_unicode(tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert cli.main(["generate", "a", "--num-candidates", "1", "-o", name]) == 0
    assert (tmp_path / name).exists()


RECORDS = {
    "no record": None,
    "no JSON": "{",
    "a list": "[]",
    "wrong kinds": json.dumps({"model": 5, "seed": "x", "prompt": "a"}),
    "a model that nobody knows": json.dumps({"model": "nope", "prompt": "a", "seed": 1}),
}


def test_a_copy_in_a_format_that_is_none_of_ours(refusal: Callable[..., str]) -> None:
    call = ["generate", "a", "--num-candidates", "1", "-o", "picture.jpg"]
    assert cli.main(call) == 0
    with Pillow.open("picture.jpg") as picture:
        picture.save("copy.tiff", exif=picture.getexif())
    assert "is none of PNG, JPEG, WEBP" in refusal("replay", "copy.tiff")


@pytest.mark.parametrize("text", RECORDS.values(), ids=RECORDS.keys())
def test_a_picture_that_can_not_be_made_again(
    text: str | None, refusal: Callable[..., str]
) -> None:
    info = PngInfo()
    if text is not None:
        info.add_text("mindalle", text)
    Pillow.fromarray(np.zeros((4, 4, 3), np.uint8)).save("some.png", pnginfo=info)
    refusal("replay", "some.png")


def test_a_picture_that_is_none(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "page.png").write_text("<!doctype html>")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "huge.png").write_bytes(_huge_png())
    for name in ("page.png", "folder.png", "huge.png", "none.png"):
        assert name in refusal("replay", name)


def _huge_png() -> bytes:
    """A picture that says it has ten thousand million pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    length, check = struct.pack(">I", len(header)), struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + length + chunk + check


PROMPT_FILES = {
    "UTF-16": ("p.txt", "a cat".encode("utf-16")),
    "no JSON": ("p.json", b"{"),
    "another JSON": ("p.json", b'{"a": 1}'),
    "nothing": ("p.txt", b"\n\n"),
}


@pytest.mark.parametrize(("name", "data"), PROMPT_FILES.values(), ids=PROMPT_FILES.keys())
def test_a_file_of_prompts_that_is_none(
    tmp_path: Path, name: str, data: bytes, refusal: Callable[..., str]
) -> None:
    (tmp_path / name).write_bytes(data)
    assert name in refusal("eval", "--prompts", name)


def test_a_file_of_prompts_or_a_model_that_is_not_there(refusal: Callable[..., str]) -> None:
    assert "none.json" in refusal("eval", "--prompts", "none.json")
    assert "unknown preset" in refusal("eval", "nope", "--prompts", str(PROMPTS))
