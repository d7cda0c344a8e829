"""The fixed acceptance list is what it says it is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.train.data.emoji.concepts import is_held_out

PROMPTS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[4] / "data" / "prompts.json").read_text("utf-8")
)["prompts"]
# Prompt → the pair that training must never have shown.
COMBINATIONS = {
    "blue octopus": ("octopus", "colour", "blue"),
    "green donut": ("doughnut", "colour", "green"),
    "purple crown": ("crown", "colour", "purple"),
    "yellow snail": ("snail", "colour", "yellow"),
    "red teapot": ("teapot", "colour", "red"),
    "pink bear": ("bear", "colour", "pink"),
    "blue banana": ("banana", "colour", "blue"),
    "green butterfly": ("butterfly", "colour", "green"),
    "purple dolphin": ("dolphin", "colour", "purple"),
    "pink frog": ("frog", "colour", "pink"),
    "penguin at night": ("penguin", "background", "night"),
    "frog on a blue background": ("frog", "background", "blue"),
    "pizza on a pink background": ("pizza", "background", "pink"),
    "rocket in the snow": ("rocket", "background", "snow"),
    "strawberry on a green background": ("strawberry", "background", "green"),
    "guitar at night": ("guitar", "background", "night"),
    "silhouette of a turtle": ("turtle", "style", "silhouette"),
    "silhouette of a teapot": ("teapot", "style", "silhouette"),
    "duck in flat style": ("duck", "style", "flat"),
    "watermelon in 3d style": ("watermelon", "style", "3d"),
}


def test_forty_plain_names_and_twenty_combinations() -> None:
    kinds = Counter(entry["kind"] for entry in PROMPTS)
    assert len({entry["prompt"] for entry in PROMPTS}) == 60
    assert (kinds["plain"], kinds["colour"]) == (40, 10)
    assert kinds["style"] + kinds["background"] == 10
    groups = {entry["group"] for entry in PROMPTS if entry["kind"] == "plain"}
    assert groups == {"faces", "animals", "food", "objects", "symbols", "travel"}


@pytest.mark.parametrize("entry", PROMPTS, ids=lambda entry: str(entry["prompt"]))
def test_the_true_name_is_one_of_ten(entry: dict[str, Any]) -> None:
    assert len(set(entry["names"])) == 10
    assert entry["prompt"] in entry["names"]


def test_training_never_showed_the_combinations() -> None:
    combined = {entry["prompt"] for entry in PROMPTS if entry["kind"] != "plain"}
    assert combined == COMBINATIONS.keys()
    assert all(is_held_out(*pair) for pair in COMBINATIONS.values())
