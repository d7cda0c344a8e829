"""Drawn pictures in a folder: files, and a manifest of lines that only grows.

The manifest is that of `mindalle bulk`, so that whoever drew them, they are read alike; a run that
was killed goes on where it was. In memory are only places in the manifest. Draws nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.configs.prior import Prompt
from models.pictures import to_bytes

MANIFEST = "manifest.jsonl"
_BETWEEN_REPEATS = 1_000_003  # seeds of one prompt that is asked for again


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt to draw, what its files are called by, and its seed."""

    name: str
    prompt: Prompt
    seed: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """One prompt's kept candidates in the order of their numbers."""

    ask: Ask
    files: tuple[Path, ...]
    scores: tuple[float | None, ...]  # the ranker's

    def pixels(self) -> Tensor:
        """In 0..1, [n, 3, H, W]."""
        pictures = []
        for path in self.files:
            with Image.open(path) as image:
                pictures.append(np.asarray(image.convert("RGB")))
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def asks_for(prompts: Sequence[Prompt], seed: int) -> list[Ask]:
    """One for each prompt; one that comes again has another seed, or it were the same picture."""
    seen: Counter[Prompt] = Counter()
    asks = []
    for number, prompt in enumerate(prompts, start=1):
        asks.append(Ask(f"{number:06}", prompt, seed + seen[prompt] * _BETWEEN_REPEATS))
        seen[prompt] += 1
    return asks


@dataclass(slots=True)
class Drawings:
    """The pictures of one folder. Call `refresh` when another hand has drawn there."""

    folder: Path
    _places: dict[str, int] = field(default_factory=dict, init=False)  # name → its last line

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Read what is there; a line that a killed run has not ended is none."""
        self._places.clear()
        if not self._manifest.is_file():
            return
        with self._manifest.open("rb") as file:
            place = 0
            for line in file:
                record = _record(line)
                if record.get("status") == "succeeded":
                    self._places[record["name"]] = place
                place += len(line)

    @property
    def _manifest(self) -> Path:
        return self.folder / MANIFEST

    def missing(self, asks: Iterable[Ask]) -> list[Ask]:
        """What is not drawn yet, with this prompt and seed."""
        return [ask for ask in asks if self.get(ask) is None]

    def of(self, asks: Iterable[Ask]) -> Iterator[Drawn]:
        """What there is of these, in their order."""
        return filter(None, map(self.get, asks))

    def get(self, ask: Ask) -> Drawn | None:
        """What was drawn for it; None where that is not there, or is another's."""
        if ask.name not in self._places:
            return None
        with self._manifest.open("rb") as file:
            file.seek(self._places[ask.name])
            record = _record(file.readline())
        if (record.get("prompt"), record.get("seed")) != (ask.prompt, ask.seed):
            return None
        images = sorted(record["images"], key=lambda image: image["candidate"])
        files = tuple(self.folder / image["file"] for image in images)
        if not files or not all(path.is_file() for path in files):
            return None
        return Drawn(ask, files, tuple(image["score"] for image in images))

    def add(self, ask: Ask, pixels: Tensor, kept: Sequence[tuple[int, float | None]]) -> None:
        """Keep pixels [n, 3, H, W] with their (candidate, score), the best first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        images = []
        pairs = zip(to_bytes(pixels), kept, strict=True)
        for rank, (picture, (candidate, score)) in enumerate(pairs):
            name = f"{ask.name}-{rank}.png"
            Image.fromarray(picture).save(self.folder / name)
            images.append({"file": name, "rank": rank, "candidate": candidate, "score": score})
        told = {"name": ask.name, "prompt": ask.prompt, "seed": ask.seed}
        self._append({**told, "status": "succeeded", "images": images})

    def _append(self, record: Mapping[str, Any]) -> None:
        with self._manifest.open("a+b") as file:
            end = file.seek(0, 2)
            if end and not _ends_a_line(self._manifest):
                end += file.write(b"\n")
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self._places[record["name"]] = end


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    is_whole = isinstance(record, dict) and {"name", "images"} <= record.keys()
    return record if is_whole else {}


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"
