"""Pictures as cameras, scanners and drawing programs leave them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from models.train.data.data_set import Variant
from models.train.data.decoding import decoded
from models.train.data.folder import FolderFiles, FolderSet

WHITE, RED = (255, 255, 255), (255, 0, 0)


def file_of(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def test_sixteen_bits_of_grey_are_scaled_not_cut_off() -> None:
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    made = np.asarray(decoded(file_of(Image.fromarray(levels))))
    assert made[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_turned_photograph_stands_upright() -> None:
    picture = Image.new("RGB", (64, 32), WHITE)
    picture.paste(RED, (0, 0, 32, 32))  # what the camera calls left is above
    exif = Image.Exif()
    exif[0x0112] = 6
    made = decoded(file_of(picture, exif=exif))
    assert made.size == (32, 64)
    assert (made.getpixel((16, 8)), made.getpixel((16, 56))) == (RED, WHITE)


def palette() -> Image.Image:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 0, *RED])
    picture.putpixel((1, 1), 1)
    return picture


def rgba() -> Image.Image:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((1, 1), (*RED, 255))
    return picture


@pytest.mark.parametrize(
    "data",
    [
        file_of(palette(), transparency=0),
        file_of(rgba()),
        file_of(rgba(), "WEBP", lossless=True),
        file_of(rgba().convert("RGB"), transparency=(0, 0, 0)),
    ],
    ids=["palette", "alpha", "webp", "one colour"],
)
def test_what_is_clear_is_white(data: bytes) -> None:
    made = decoded(data)
    assert (made.getpixel((0, 0)), made.getpixel((1, 1))) == (WHITE, RED)


TEXTS = {
    "a": b"\xef\xbb\xbfa cat\r\n",
    "b": b"caf\xe9\n",
    "c": "\ufeff\u732b\r\n".encode("utf-16-le"),
    "d": "\ufeff\u732b\n".encode("utf-16-be"),
}


def test_captions_of_any_editor_are_read(tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.png").write_bytes(file_of(rgba()))
        (tmp_path / f"{name}.txt").write_bytes(text)
    data = FolderSet(FolderFiles(tmp_path), 8)
    assert data.names() == ("a cat", "caf\ufffd", "\u732b", "\u732b")
    assert data.caption(Variant(0), Random(0)) == "a cat"
