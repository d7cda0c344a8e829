"""The things that scenes may hold, with what grammar needs: plurals, and nouns in other languages.

Reads things.txt, written by hand: automatic grammar makes "two high voltages" and "a skiing". Knows
no pictures and no sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("things.txt")
LANGUAGES = ("de", "fr", "es", "pt", "ja")  # of a line's columns; the last one has no genders


@dataclass(frozen=True, slots=True)
class Noun:
    """A name in another language; `gender` "-" says that no article is to stand here."""

    gender: str
    name: str | None  # None: CLDR's short name


@dataclass(frozen=True, slots=True)
class Thing:
    """One concept that scenes may hold: English (singular, plural) pairs, the commonest first."""

    label: str
    names: tuple[tuple[str, str], ...]
    nouns: dict[str, Noun]


def parse_things(text: str) -> tuple[Thing, ...]:
    """Lines of things.txt → things; `#` opens a comment."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return tuple(map(_parse_line, lines))


def load_things() -> dict[str, Thing]:
    """The curated list, by label."""
    return {thing.label: thing for thing in parse_things(LIST.read_text("utf-8"))}


def _parse_line(line: str) -> Thing:
    label, _, rest = line.partition(" = ")
    english, _, others = rest.partition("; ")
    names = tuple(_pair(entry) for entry in english.split(", "))
    *inflected, japanese = f"{others}, ".split(", ")[: len(LANGUAGES)]
    nouns = {language: _noun(entry) for language, entry in zip(LANGUAGES, inflected, strict=False)}
    return Thing(label, names, {**nouns, LANGUAGES[-1]: Noun("", japanese or None)})


def _pair(entry: str) -> tuple[str, str]:
    singular, _, plural = entry.partition("/")
    return singular, plural


def _noun(entry: str) -> Noun:
    gender, _, name = entry.partition(" ")
    return Noun(gender, name or None)
