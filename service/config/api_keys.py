"""API keys as the operator writes them and as the server keeps them.

The key itself is hashed at once: what stays can be compared with a caller's key, and names it in
Redis and in logs, but does not give it away. What is wrong is told by setting, file and line, never
with the key. Knows no HTTP.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.config.paths import in_text

_SHORTEST = 8  # characters: fewer can be guessed by asking
_LIST, _FILE = "MINDALLE_API_KEYS", "MINDALLE_API_KEYS_FILE"
_COMMENT = re.compile(r"(?:^|\s)#.*")  # not inside a key: `abc#def` is one
_QUOTES = "\"'`‘’“”«»„"
# The mark of UTF-32 in little-endian order begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key as the server keeps it: a hash to compare with, and an id for Redis and logs."""

    name: str
    key_id: str
    digest: bytes
    weight: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `name:key`, `name:key:weight` or a bare key (weight 1, named by its hash).

        Raises:
            ValueError: what is wrong, without the key.
        """
        if "," in text:
            raise ValueError("a key holds no comma; in a file each has its own line")
        head, colon, rest = text.partition(":")
        secret, _, behind = rest.partition(":") if colon else (head, "", "")
        secret, weight = secret.strip(), _weight(behind.strip())
        _check(secret)
        digest = hashlib.sha256(secret.encode()).digest()
        key_id = digest.hex()[:16]
        name = head.strip() if colon else ""
        return cls(name or key_id, key_id, digest, weight)


def _check(secret: str) -> None:
    """Refuse a key that no caller could send, or that anybody could guess."""
    if not secret:
        raise ValueError("there is no key behind the colon")
    if secret[0] in _QUOTES:
        raise ValueError("write the key without quotes")
    for place, letter in enumerate(secret, 1):
        if not "!" <= letter <= "~":
            hint = "; save the file as UTF-8" if letter in "\0�" else ""
            raise ValueError(
                f"a key holds visible ASCII characters only, as a header does; its character"
                f" {place} is U+{ord(letter):04X}{hint}"
            )
    if len(secret) < _SHORTEST:
        raise ValueError(
            f"a key of {len(secret)} characters can be guessed; {_SHORTEST} are needed,"
            " `openssl rand -hex 16` makes a good one"
        )


def _weight(text: str) -> float:
    try:
        weight = float(text or 1.0)
    except ValueError:
        raise ValueError(
            "the weight is not a number; it stands behind a second colon, and a key holds none"
        ) from None
    if not 0.01 <= weight <= 100:
        raise ValueError("a weight must be between 0.01 and 100")
    return weight


def read_keys(listed: str, path: Path | None) -> tuple[ApiKey, ...]:
    """Keys of a comma-separated list and of a file, one per line.

    Raises:
        ValueError: a bad one, named by its setting and its place; or a file without any.
    """
    found = list(_in_list(listed)) if listed else []
    if path is not None:
        found += _in_file(path)
    keys: dict[str, tuple[str, ApiKey]] = {}
    for place, text in found:
        try:
            key = ApiKey.parse(text)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if key.key_id in keys:
            raise ValueError(
                f"{place}: the same key is given twice, first in {keys[key.key_id][0]}"
            )
        keys[key.key_id] = place, key
    return tuple(key for _, key in keys.values())


def _in_list(listed: str) -> Iterator[tuple[str, str]]:
    """Place and text of each key in the variable."""
    entries = [(number, text) for number, text in enumerate(listed.split(","), 1) if text.strip()]
    if not entries:
        raise ValueError(f"{_LIST}: there is no key in it")
    for number, text in entries:
        yield f"{_LIST}, key {number}", text.strip()


def _in_file(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of each key in the file."""
    where = f"{_FILE}: {in_text(path)}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{where} can't be read: {error.strerror}") from None
    lines = enumerate(io.StringIO(_decoded(data, where), newline=None), 1)
    entries = [(number, kept) for number, line in lines if (kept := _COMMENT.sub("", line).strip())]
    if not entries:
        raise ValueError(f"{_FILE}: there is no key in {in_text(path)}")
    for number, text in entries:
        yield f"{where}, line {number}", text


def _decoded(data: bytes, where: str) -> str:
    """By the file's byte order mark; without one, UTF-8."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "ignore")
        number = len(io.StringIO(before + ".", newline=None).readlines())
        name = encoding.removesuffix("-sig").upper()
        raise ValueError(
            f"{where}, line {number}: not {name} text; save the file as UTF-8"
        ) from None
