"""Files that nobody should send: two hundred of them, made here."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from tests.service.files import file_of, noise

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_says(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of any size in its header, with a few bytes of pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return _SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _bomb(side: int) -> bytes:
    """A real picture of one colour: kilobytes that become megabytes."""
    return file_of(Pillow.new("L", (side, side), 7), optimize=True)


def _text_bomb() -> bytes:
    """Text that a reader would unpack to a hundred megabytes."""
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9))
    whole = file_of(noise())
    return whole[:33] + text + whole[33:]


def _profile_bomb() -> bytes:
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000), 9))
    whole = file_of(noise())
    return whole[:33] + profile + whole[33:]


def _many_texts() -> bytes:
    info = PngInfo()
    for number in range(5000):
        info.add_text(f"k{number}", "v" * 100)
    return file_of(noise(), pnginfo=info)


def many_scans() -> bytes:
    """A JPEG that takes hundreds of passes."""
    whole = file_of(noise((512, 512)), "JPEG", progressive=True)
    start = whole.rindex(b"\xff\xda")
    return whole[:start] + whole[start:-2] * 200 + whole[-2:]


def many_scans_of_two() -> bytes:
    """The same, of which it is said that a second picture comes after it."""
    both = file_of(
        Pillow.fromarray(noise()), "MPO", save_all=True, append_images=[Pillow.new("RGB", (9, 9))]
    )
    at = both.index(b"\xff\xe2")
    (length,) = struct.unpack_from(">H", both, at + 2)
    whole = many_scans()
    return whole[:2] + both[at : at + 2 + length] + whole[2:]


def _animated(kind: str) -> bytes:
    frames = [Pillow.fromarray(noise(seed=seed)) for seed in range(3)]
    return file_of(frames[0], kind, save_all=True, append_images=frames[1:])


def _others() -> Iterator[bytes]:
    yield from (
        b"",
        b"\0",
        b"x" * 100_000,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
    )
    yield from (
        b"GIF89a" + bytes(100),
        b"BM" + bytes(100),
        b"II*\0" + bytes(100),
        b"8BPS" + bytes(99),
    )
    yield from (_SIGNATURE, b"\xff\xd8\xff", b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"\xff\xd8" * 5000)
    yield from (file_of(noise(), kind) for kind in ("GIF", "BMP", "TIFF", "PPM", "ICO", "TGA"))
    for size in (
        (100_000, 100_000),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (0, 0),
        (5000, 5000),
        (1, 60_000),
    ):
        yield png_that_says(*size)
    yield from (png_that_says(9, 9, depth, colour) for depth, colour in ((3, 2), (16, 6), (8, 9)))
    yield from (_bomb(4096), _bomb(4097), _bomb(12_000), _text_bomb(), _profile_bomb())
    yield from (
        _many_texts(),
        many_scans(),
        many_scans_of_two(),
        _animated("PNG"),
        _animated("WEBP"),
    )


_WRITERS: tuple[Callable[[], bytes], ...] = (
    lambda: file_of(noise((64, 48))),
    lambda: file_of(noise((64, 48)), "JPEG"),
    lambda: file_of(noise((64, 48)), "JPEG", progressive=True),
    lambda: file_of(noise((64, 48)), "WEBP"),
    lambda: file_of(noise((64, 48)), "WEBP", lossless=True),
    lambda: file_of(Pillow.fromarray(noise((64, 48))).quantize(16)),
    lambda: file_of(Pillow.fromarray(np.arange(3072, dtype=np.uint16).reshape(48, 64))),
)


def _broken(count: int) -> Iterator[bytes]:
    """Good files, cut short or with bytes changed."""
    chance = random.Random(5)
    for number in range(count):
        data = bytearray(_WRITERS[number % len(_WRITERS)]())
        if number % 3 == 0:
            del data[chance.randrange(1, len(data)) :]
        else:
            for _ in range(chance.choice((1, 5, 50))):
                data[chance.randrange(len(data) // (1 + number % 2 * 9))] = chance.randrange(256)
        yield bytes(data)


def hostile_files(count: int = 200) -> list[bytes]:
    """So many of them."""
    known = list(_others())
    return known + list(_broken(count - len(known)))
