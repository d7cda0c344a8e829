from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from service.errors import InvalidRequest
from service.sources.reading import read
from tests.service.files import file_of, noise
from tests.service.sources.hostile import png_that_says


def _read(data: bytes) -> Any:
    return np.asarray(read(data, "image").picture)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_every_pixel_of_a_lossless_file_is_read(kind: str) -> None:
    assert np.array_equal(_read(file_of(noise(), kind, lossless=True)), noise())


def test_a_picture_lies_as_its_camera_was_held() -> None:
    picture = noise((32, 16))
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turn it clockwise
    sent = file_of(picture, exif=exif.tobytes())
    assert np.array_equal(_read(sent), np.rot90(picture, -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_is_much_larger_than_needed_is_made_smaller_at_once(kind: str) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    quarters = np.kron(noise((4, 2)), np.ones((100, 100, 1))).astype(np.uint8)
    found = read(file_of(quarters, kind, exif=exif.tobytes(), quality=95), "image", 50)
    assert found.size == (200, 400)  # upright
    assert found.picture.size == (50, 100)
    middles = np.asarray(found.picture)[12::25, 12::25].astype(int)
    assert np.abs(middles - np.rot90(noise((4, 2)), -1)).max() <= 12


def test_what_can_not_be_seen_has_no_part_in_a_smaller_picture() -> None:
    picture = np.full((400, 400, 4), 255, np.uint8)
    picture[::2] = (0, 0, 0, 0)
    found = np.asarray(read(file_of(picture), "image", 100).picture)
    assert found.shape == (100, 100, 4)
    assert (found[..., :3] == 255).all()


def test_an_orientation_that_is_none_turns_nothing() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 77
    assert np.array_equal(_read(file_of(noise(), exif=exif.tobytes())), noise())
    assert np.array_equal(_read(file_of(noise(), exif=b"Exif\0\0II*\0" + b"\xff" * 40)), noise())


def test_sixteen_bits_become_eight() -> None:
    levels = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    grey = _read(file_of(Pillow.fromarray(levels)))[..., 0]
    assert np.abs(grey.astype(int) - levels / 257).max() <= 0.5


def test_grey_palettes_and_transparency() -> None:
    grey = Pillow.fromarray(noise()[..., 0])
    assert np.array_equal(_read(file_of(grey))[..., 1], noise()[..., 0])
    assert _read(file_of(grey.convert("1"))).shape == (32, 32, 3)
    clear = Pillow.new("P", (8, 8), 1)
    clear.putpalette([255, 0, 0, 0, 255, 0])
    clear.putpixel((0, 0), 0)
    found = _read(file_of(clear, transparency=0))
    assert found[0, 0, 3] == 0
    assert found[1, 1].tolist() == [0, 255, 0, 255]


def test_cmyk_is_shown_in_rgb() -> None:
    cyan = Pillow.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, green, blue = _read(file_of(cyan, "JPEG"))[8, 8]
    assert red < 60
    assert min(green, blue) > 120


def test_colours_are_those_of_the_files_profile() -> None:
    """The same levels with another white: what is grey in one is not in the other."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = Pillow.new("RGB", (8, 8), (128, 128, 128))
    assert np.abs(_read(file_of(grey, icc_profile=lab)).astype(int) - 128).max() <= 1
    assert _read(file_of(grey, icc_profile=b"no profile"))[0, 0].tolist() == [128, 128, 128]


def test_a_picture_of_a_phone_with_a_second_one_in_it_is_the_first() -> None:
    first, second = (Pillow.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    sent = file_of(first, "MPO", save_all=True, append_images=[second])
    assert _read(sent)[16, 16, 0] > 240


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_that_says(5000, 5000), "too many pixels"),
        (png_that_says(100_000, 100_000), "too many pixels"),
        (b"GIF89a", "no PNG, JPEG or WebP"),
        (file_of(noise())[:-40], "damaged"),
    ],
)
def test_an_error_says_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read(data, "image")


def test_an_animation_is_no_single_picture() -> None:
    frames = [Pillow.fromarray(noise(seed=seed)) for seed in range(2)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidRequest, match="animated"):
        read(file.getvalue(), "mask")
