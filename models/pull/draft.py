"""A file that is not whole yet: its bytes so far, and what to ask a server for the others by.

Knows HTTP's words for that and sends nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")
_LENGTH = re.compile(r"\d{1,18}")


@dataclass(frozen=True, slots=True)
class Extent:
    """Which bytes an answer brings: from where, and of how many in all, if it says so."""

    start: int
    total: int | None

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str]) -> Extent | None:
        """From an answer's headers; None where they say nothing that can be used."""
        if status == 200:
            length = headers.get("content-length", "")
            return cls(0, int(length) if _LENGTH.fullmatch(length) else None)
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if found is None:
            return None
        start, total = found[1] or "0", found[2]
        return cls(int(start), None if total == "*" else int(total))


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where the bytes of a draft come from, as its server names them."""

    address: str  # its digest: an address may hold a password
    validator: str | None  # ETag or Last-Modified: whether the file there is still the same
    total: int | None


class Draft:
    """A file `NAME.part`, and beside it `NAME.part.json` with its origin."""

    def __init__(self, target: Path) -> None:
        self._path = target.with_name(f"{target.name}.part")
        self._notes = target.with_name(f"{target.name}.part.json")
        self._target = target

    @property
    def path(self) -> Path:
        """Where the bytes lie."""
        return self._path

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._path.stat().st_size if self._path.exists() else 0

    def request_headers(self, address: str, *, is_checked: bool) -> dict[str, str]:
        """What asks for the rest; nothing where only the whole would be sure.

        Without a checksum to come (`is_checked`), the bytes of two files could be put together.
        """
        origin = self._origin()
        if not self.size:
            return {}
        wanted = {"range": f"bytes={self.size}-"}
        if origin and origin.address == _digest(address) and origin.validator:
            return wanted | {"if-range": origin.validator}
        return wanted if is_checked else {}

    def begin(self, address: str, extent: Extent, headers: Mapping[str, str]) -> None:
        """Take what follows as the bytes from `extent.start` on."""
        with self._path.open("ab") as file:
            file.truncate(extent.start)  # first: old bytes must not get a new validator
        origin = _Origin(_digest(address), _validator(headers), extent.total)
        self._notes.write_text(json.dumps(asdict(origin)), encoding="utf-8")

    def drop(self) -> None:
        """Forget all of it."""
        self._path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def finish(self) -> None:
        """It is whole: give it its own name."""
        self._path.replace(self._target)
        self._notes.unlink(missing_ok=True)

    def _origin(self) -> _Origin | None:
        try:
            return _Origin(**json.loads(self._notes.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # of a call that was killed while it wrote
            return None


def _digest(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()


def _validator(headers: Mapping[str, str]) -> str | None:
    """What If-Range may carry: a weak ETag may not, it allows other bytes."""
    tag = headers.get("etag", "")
    return tag if tag.startswith('"') else headers.get("last-modified")
