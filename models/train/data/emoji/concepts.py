"""What the model can draw: the curated concepts, their names and the held-out combinations.

Names and keywords are CLDR's, joined by hand-written synonyms from concepts.txt. The splits are
pure functions of the words, so every stage and every later run holds out the same combinations.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("concepts.txt")
HOLD_OUT_ONE_IN = 8


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing: its CLDR label, where art sets file it, and the words people type for it."""

    label: str
    hexcode: str
    group: str
    synonyms: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def slug(self) -> str:
        """The label as icon sets spell it in file names."""
        plain = self.label.lower().replace("’", "").replace("ñ", "n")
        return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that names this concept alone, the label first; lower case."""
        return (self.label.lower().replace("’", "'"), *self.synonyms)


def parse_list(text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """`# group` heads and `label: synonym, synonym` lines → (group, label, synonyms)."""
    rows: list[tuple[str, str, tuple[str, ...]]] = []
    group = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            group = line.removeprefix("#").strip()
            continue
        label, _, rest = line.partition(":")
        words = tuple(word.strip() for word in rest.split(",") if word.strip())
        rows.append((group, label.strip(), words))
    return rows


def load_concepts(names: Path) -> tuple[Concept, ...]:
    """The curated list, with keywords and code points from emojibase's `data.json` in `names`."""
    known = {entry["label"]: entry for entry in json.loads((names / "data.json").read_text())}
    rows = parse_list(LIST.read_text())
    return tuple(
        Concept(label, known[label]["hexcode"], group, words, tuple(known[label].get("tags", ())))
        for group, label, words in rows
    )


def is_held_out(label: str, kind: str, word: str) -> bool:
    """Whether training never shows this concept with this word.

    `kind` is "colour", "style" or "background", in scenes also "count", and "thing" for a pair of
    concepts in alphabetical order; one combination in eight is held out.
    """
    digest = hashlib.sha256(f"{kind}|{label}|{word}".encode()).digest()
    return digest[0] % HOLD_OUT_ONE_IN == 0
