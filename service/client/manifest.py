"""What a bulk run was asked for and what has come of it: a file of prompts, and a manifest.

The manifest is a file of JSON lines that only grows, so that a run which is killed has lost at most
the line that it was writing. Knows no server.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from service.client.protocol import Parameters

MANIFEST_NAME = "manifest.jsonl"
_CALLERS = frozenset({"self", "idempotency_key"})  # what the client's call has besides a request's
_NAME = re.compile(r"[\w-][\w.-]{0,99}")
_LONGEST_NAME = 240  # bytes: with a rank, its ending and that of a draft, file systems take 255


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the prompts: the request, and what its files are called by."""

    name: str
    prompt: str | int | None
    parameters: Parameters

    @property
    def digest(self) -> str:
        """The same for the same request under the same name."""
        whole = json.dumps([self.name, self.prompt, self.parameters], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()

    def file_name(self, rank: int) -> str:
        """Of the image with this rank."""
        return f"{self.name}-{rank}.{self.parameters.get('output_format', 'png')}"


def read_entries(path: Path, defaults: Parameters) -> list[Entry]:
    """The lines of a file: a JSON text, a class, or an object with `prompt` and more fields.

    `name` in an object calls its files; without one it is the line's number. Empty lines are none.

    Raises:
        ValueError: naming the line that no request can be made of.
    """
    entries: dict[str, Entry] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            entry = _entry(_said(line), f"{number:06}", defaults)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if entry.name in entries:
            raise ValueError(f"{path}, line {number}: the name {entry.name!r} stands there twice")
        entries[entry.name] = entry
    return list(entries.values())


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {number}: it is not UTF-8") from None
    return text.split("\n")  # a JSON text may hold Unicode's other line ends as they are


def _said(line: str) -> object:
    """What a line of JSON says. ValueError where a request could not say the same."""
    said = json.loads(line)
    try:
        json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character (a lone surrogate)") from None
    except ValueError:
        raise ValueError("a number is infinite, or none (NaN)") from None
    return said


def _entry(given: object, name: str, defaults: Parameters) -> Entry:
    fields: dict[str, Any] = dict(given) if isinstance(given, dict) else {"prompt": given}
    prompt, name = fields.pop("prompt", None), fields.pop("name", name)
    if mine := _CALLERS.intersection(fields):
        raise ValueError(f"a request has no field {min(mine)}")
    if not (prompt is None or isinstance(prompt, str | int)) or isinstance(prompt, bool):
        raise ValueError("the prompt must be a text, a class or null")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("the name must be letters, digits, dots, dashes, at most 100 of them")
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"the name has more than {_LONGEST_NAME} bytes, too many for a file's")
    parameters: Any = {**defaults, **fields}  # Any: the server says what it takes
    if parameters.get("output_format", "png") not in ("png", "jpeg", "webp"):
        raise ValueError("output_format must be png, jpeg or webp")
    return Entry(name, prompt, parameters)


class Manifest:
    """The manifest of one folder, in the hands of one process while it is open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = (folder / MANIFEST_NAME).open(
            "a+",
            encoding="utf-8",
            errors="replace",  # a killed call may have left half a letter
        )
        self._records: dict[str, list[Mapping[str, Any]]] = {}
        self.run_id = ""

    def __enter__(self) -> Self:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ValueError(f"{self._folder}: another process is at work there") from None
        self._read()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def is_done(self, entry: Entry) -> bool:
        """Whether this very request has its files."""
        last = next(reversed(self._of(entry)), None)
        return (
            last is not None
            and last["status"] == "succeeded"
            and all((self._folder / image["file"]).is_file() for image in last["images"])
        )

    def key(self, entry: Entry) -> str:
        """The Idempotency-Key of the next attempt; of a call that was killed, the same again."""
        return f"bulk-{self.run_id}-{entry.digest[:32]}-{len(self._of(entry))}"

    def write_image(self, entry: Entry, rank: int, data: bytes) -> str:
        """Keep an image's file, whole or not at all; its name."""
        name = entry.file_name(rank)
        draft = self._folder / f".{name}.part"
        draft.write_bytes(data)
        draft.replace(self._folder / name)
        return name

    def add(self, entry: Entry, record: Mapping[str, object]) -> None:
        """Write down how an attempt ended."""
        whole = {"name": entry.name, "digest": entry.digest, "prompt": entry.prompt, **record}
        self._records.setdefault(entry.name, []).append(whole)
        self._write(whole)

    def _of(self, entry: Entry) -> Sequence[Mapping[str, Any]]:
        known = self._records.get(entry.name, [])
        return [record for record in known if record["digest"] == entry.digest]

    def _read(self) -> None:
        self._file.seek(0)
        text = self._file.read()
        if text and not text.endswith("\n"):
            self._file.write("\n")  # after the line that a killed call has not ended
        for record in _objects(text):
            self.run_id = record.get("run", self.run_id)
            if _is_attempt(record):
                self._records.setdefault(record["name"], []).append(record)
        if not self.run_id:
            self.run_id = uuid.uuid4().hex
            self._write({"run": self.run_id})

    def _write(self, record: Mapping[str, object]) -> None:
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()


def _is_attempt(record: Mapping[str, Any]) -> bool:
    """Whether a line says how an attempt ended, as `add` does: people edit the file, too."""
    name, images = record.get("name"), record.get("images")
    return (
        isinstance(name, str)
        and isinstance(images, list)
        and {"digest", "status"} <= record.keys()
        and all(isinstance(image, dict) and isinstance(image.get("file"), str) for image in images)
    )


def _objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.split("\n"):  # a prompt may hold Unicode's other line ends
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
