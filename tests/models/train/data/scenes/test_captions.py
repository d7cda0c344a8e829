from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import pytest

from models.train.data.emoji.looks import COLOURS
from models.train.data.scenes import captions
from models.train.data.scenes.backdrops import BACKDROPS
from models.train.data.scenes.captions import Said
from models.train.data.scenes.layouts import COUNTS, PAIRS, PLACES, TRIOS

CAT = Said((("cat", "cats"),), ("cat", "kitty"))
APPLE = Said((("apple", "apples"),), ("red apple",))
UFO = Said((("ufo", "ufos"), ("unicorn", "unicorns")))
ONION = Said((("onion", "onions"),))
MOUSE = Said((("mouse", "mice"),), colour="gray")
HAPPY = Said((), ("happy face",))


def texts(say: Callable[[Random], str]) -> set[str]:
    return {say(Random(seed)) for seed in range(400)}


@pytest.mark.parametrize(
    ("thing", "phrase"),
    [(APPLE, "an apple"), (ONION, "an onion"), (CAT, "a cat"), (UFO, "a ufo"), (UFO, "a unicorn")],
)
def test_an_article_fits_the_word_that_follows(thing: Said, phrase: str) -> None:
    assert phrase in texts(lambda rng: finished(captions.alone(thing, None, rng), rng))


def finished(text: str, rng: Random) -> str:
    return captions.finished(text, None, None, rng)


def test_what_is_no_curated_thing_has_no_article() -> None:
    assert texts(lambda rng: captions.alone(HAPPY, None, rng)) == {"happy face"}
    silhouettes = texts(lambda rng: captions.alone(HAPPY, "silhouette", rng))
    assert not any(re.search(r"\ba\b", text) for text in silhouettes)


def test_counts_have_plurals_and_colours() -> None:
    said = texts(lambda rng: captions.counted(MOUSE, 3, True, rng))
    counts = {"three gray mice", "3 gray mice"}
    assert said == counts | {f"{text} in a row" for text in counts}
    assert "a pair of gray mice" in texts(lambda rng: captions.counted(MOUSE, 2, True, rng))


def test_every_count_layout_has_its_words() -> None:
    assert set(captions._NUMBERS) == set(COUNTS)


@pytest.mark.parametrize("place", [*PAIRS, *TRIOS])
def test_all_things_are_said_in_every_layout(place: str) -> None:
    things = [CAT, APPLE, MOUSE][: 2 if place in PAIRS else 3]
    for text in texts(lambda rng: captions.together(things, place, rng)):
        assert "{" not in text
        assert "cat" in text
        assert "apple" in text
        assert place in PAIRS or "gray mouse" in text


@pytest.mark.parametrize(
    ("place", "right", "wrong"),
    [
        ("beside", "a cat to the left of a apple", "a apple to the left of a cat"),
        ("beside", "a apple to the right of a cat", "a cat to the right of a apple"),
        ("above", "a cat above a apple", "a apple above a cat"),
        ("above", "a apple below a cat", "a cat below a apple"),
        ("on", "a cat on top of a apple", "a apple on top of a cat"),
        ("in front", "a apple behind a cat", "a cat behind a apple"),
    ],
)
def test_place_words_keep_the_order(place: str, right: str, wrong: str) -> None:
    said = texts(lambda rng: captions.together([CAT, APPLE], place, rng))
    assert right in said
    assert wrong not in said


@pytest.mark.parametrize("place", PLACES)
def test_places_are_said(place: str) -> None:
    said = texts(lambda rng: captions.placed(CAT, place, rng))
    assert all(place.rsplit(maxsplit=1)[-1] in text for text in said)


def test_sizes_are_said() -> None:
    big = Said(CAT.names, CAT.bare, None, "big")
    for text in texts(lambda rng: captions.alone(big, None, rng)):
        assert re.search(r"\b(big|large|huge)\b", text)


@pytest.mark.parametrize("background", BACKDROPS)
def test_every_background_has_words(background: str) -> None:
    said = texts(lambda rng: captions.finished("a cat", background, "flat", rng))
    assert all(text.startswith("a cat") and "flat style" in text for text in said)
    assert all(len(text) > len("a cat in flat style") for text in said)
    if background in COLOURS:
        assert all(background in text for text in said)
