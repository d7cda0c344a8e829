from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from service.errors import InvalidRequest
from service.sources.reading import read
from tests.service.files import file_of, noise
from tests.service.sources.hostile import chunk, many_scans, many_scans_of_two, png_that_says


def _read(data: bytes) -> Any:
    return np.asarray(read(data, "image").picture)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_every_pixel_of_a_lossless_file_is_read(kind: str) -> None:
    assert np.array_equal(_read(file_of(noise(), kind, lossless=True)), noise())


def test_what_a_phone_puts_behind_a_picture_counts_for_nothing() -> None:
    picture = file_of(noise((64, 64)), "JPEG", progressive=True)
    film = random.Random(1).randbytes(6_000_000)
    assert film.count(b"\xff\xda") > 64
    assert np.array_equal(_read(picture + film), _read(picture))


@pytest.mark.parametrize("make", [many_scans, many_scans_of_two])
def test_a_picture_of_many_scans_is_refused(make: Callable[[], bytes]) -> None:
    thumbnail = b"\xff\xe1\x00\x06\xff\xd9\xff\xd9"  # its end is not the picture's
    for data in (make(), make()[:2] + thumbnail + make()[2:]):
        with pytest.raises(InvalidRequest, match="more scans"):
            read(data, "image")


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


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_alpha_is_never_made_smaller(mode: str) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    alpha = np.full((400, 200), 255, np.uint8)
    alpha[7, 3] = 0
    picture = Pillow.fromarray(alpha).convert(mode)  # the one black pixel is to be clear
    if "A" in mode:
        picture.putalpha(Pillow.fromarray(alpha))
    black = {"RGB": (0, 0, 0), "P": 0}.get(mode)
    found = read(file_of(picture, exif=exif.tobytes(), transparency=black), "mask", 50)
    assert found.alpha is not None
    assert found.alpha.size == found.size == (400, 200)
    assert np.array_equal(np.asarray(found.alpha), np.rot90(alpha, -1))
    assert read(file_of(noise()), "image").alpha is None


def test_what_can_not_be_seen_has_no_part_in_a_smaller_picture() -> None:
    picture = np.full((400, 400, 4), 255, np.uint8)
    picture[::2] = (0, 0, 0, 0)
    by_colour = file_of(picture[..., :3], transparency=(0, 0, 0))
    for sent in (file_of(picture), by_colour):
        found = np.asarray(read(sent, "image", 100).picture)
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


@pytest.mark.parametrize(
    ("depth", "colour", "pixels", "key"),
    [
        (1, 0, b"\x55", b"\0\0"),
        (2, 0, b"\x88", b"\0\2"),
        (4, 0, b"\xa5\xa5", b"\0\x0a"),
        (8, 0, b"\xa0\x50" * 2, b"\0\xa0"),
        (16, 0, b"\xa0\xb0\x50\x60" * 2, b"\xa0\xb0"),
        (8, 2, b"\xa0\xb0\xc0\x50\x60\x70" * 2, b"\0\xa0\0\xb0\0\xc0"),
        (16, 2, b"\xa0\x01\xb0\x01\xc0\x01\x50\x01\x60\x01\x70\x01" * 2,
         b"\xa0\x01\xb0\x01\xc0\x01"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("enlarged", [1, 8])
def test_one_colour_of_a_png_may_be_clear(
    depth: int, colour: int, pixels: bytes, key: bytes, enlarged: int
) -> None:
    """In four columns every other one is; whatever bits a level has, and made smaller, too."""
    side = 4 * enlarged
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    rows = zlib.compress((b"\0" + _wide(pixels, depth, colour, enlarged)) * side)
    made = chunk(b"IHDR", header) + chunk(b"tRNS", key) + chunk(b"IDAT", rows)
    found = read(b"\x89PNG\r\n\x1a\n" + made + chunk(b"IEND", b""), "image", 4)
    alpha = np.asarray(found.picture.resize((4, 4), Pillow.Resampling.NEAREST))[..., 3]
    assert alpha.tolist() == [[0, 255, 0, 255]] * 4


def _wide(pixels: bytes, depth: int, colour: int, times: int) -> bytes:
    """A row with each of its pixels so many times."""
    bits = depth * (3 if colour == 2 else 1)
    row = np.unpackbits(np.frombuffer(pixels, np.uint8)).reshape(-1, bits)[:4]
    return np.packbits(np.repeat(row, times, axis=0)).tobytes()


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
