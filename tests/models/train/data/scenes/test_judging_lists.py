"""The lists of tests/data/judging: what a blind judge is asked, and what training must not show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from models.measure.blind import read_questions
from models.train.data.emoji.concepts import LIST, is_held_out, parse_list
from models.train.data.scenes.things import load_things

FOLDER = Path(__file__).parents[4] / "data" / "judging"
SIZES = {
    "pairs": 40,
    "counts": 20,
    "places": 20,
    "looks": 40,
    "held_out": 20,
    "languages": 20,
    "names": 40,
}
NUMBERS = {"two": "2", "three": "3", "four": "4"}


def entries(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))[
        "prompts"
    ]
    return found


def combinations(name: str) -> Iterator[tuple[bool, str, str, str]]:
    """Each entry's claim, and what the hash is asked for it."""
    for entry in entries(name):
        things, kind = sorted(entry["things"]), entry["kind"]
        for first, second in pairwise(things):
            yield entry["held_out"], first, "thing", second
        if kind == "count":
            number = entry["prompt"].partition(" ")[0]
            assert number in NUMBERS
            yield entry["held_out"], things[0], "count", number
        if kind in ("colour", "background"):
            assert entry["word"] in entry["prompt"]
            yield entry["held_out"], things[0], kind, entry["word"]


@pytest.mark.parametrize("name", SIZES)
def test_a_list_is_whole_and_of_things_that_are_in_the_art(name: str) -> None:
    questions = read_questions(FOLDER / f"{name}.json")
    assert len({question.prompt for question in questions}) == len(questions) == SIZES[name]
    assert all(len(set(question.names)) == 10 for question in questions)
    places = [question.names.index(question.answer) for question in questions]
    assert len(set(places)) > 4  # the right one has no place of its own
    labels = {label for _, label, _ in parse_list(LIST.read_text())}
    used = {thing for entry in entries(name) for thing in entry["things"]}
    assert used <= labels & load_things().keys()


@pytest.mark.parametrize("name", SIZES)
def test_no_list_tells_its_answer(name: str) -> None:
    """The right name is not the one that has most in common with the others."""
    for question in read_questions(FOLDER / f"{name}.json"):
        words = {each: set(each.split()) - {"a", "an"} for each in question.names}
        common = {each: sum(len(words[each] & w) for w in words.values()) for each in words}
        right = common.pop(question.answer)
        assert right <= max(common.values()), question


@pytest.mark.parametrize("name", ["pairs", "counts", "places", "looks", "held_out"])
def test_what_is_said_to_be_held_out_is(name: str) -> None:
    asked = list(combinations(name))
    assert asked
    assert all(is_held_out(*combination) == claim for claim, *combination in asked)
    shares = {"pairs": 20, "places": 0, "looks": 0, "held_out": 20}
    if name in shares:
        assert sum(claim for claim, *_ in asked) == shares[name]
