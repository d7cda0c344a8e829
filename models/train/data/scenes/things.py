"""The things that scenes may hold, with what grammar needs: plurals, and nouns in other languages.

Reads things.txt, written by hand: automatic grammar makes "two high voltages" and "a skiing"; and
more_names.txt, what people say and CLDR doesn't. Knows no pictures and no sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("things.txt")
MORE_NAMES = Path(__file__).with_name("more_names.txt")
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
    return tuple(map(_parse_line, _lines(text)))


def load_things() -> dict[str, Thing]:
    """The curated list, by label."""
    return {thing.label: thing for thing in parse_things(LIST.read_text("utf-8"))}


def parse_more_names(text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Lines of more_names.txt → further names by language and label."""
    found: dict[str, dict[str, tuple[str, ...]]] = {language: {} for language in LANGUAGES}
    for line in _lines(text):
        label, _, rest = line.partition(" = ")
        for entry in rest.split("; "):
            language, _, names = entry.partition(": ")
            found[language][label] = tuple(names.split(", "))
    return found


def load_more_names() -> dict[str, dict[str, tuple[str, ...]]]:
    """What things are also called, by language and label."""
    return parse_more_names(MORE_NAMES.read_text("utf-8"))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


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
