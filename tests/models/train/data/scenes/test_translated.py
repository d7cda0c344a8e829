"""What scenes say in two languages at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from models.train.data.data_set import Bilingual, Variant
from models.train.data.emoji.captions import vocabulary as emoji_words
from models.train.data.emoji.emoji_set import Selection
from models.train.data.scenes.composition import scene_of
from models.train.data.scenes.narrator import Narrator
from models.train.data.scenes.scene_set import SceneSet, open_scenes


@pytest.fixture(scope="module")
def scenes(art_cache: Path) -> SceneSet:
    return open_scenes(art_cache, 128, Selection(styles=("fluent",)))


def said(scenes: SceneSet, number: int = 3000) -> Iterator[tuple[Variant, str, str]]:
    for index in range(number):
        variant = scenes.scene(0, index)
        if found := scenes.translated(variant, Random(index)):
            yield variant, *found


def test_a_caption_says_the_same_in_both_languages(scenes: SceneSet) -> None:
    meanings = {meaning.word: meaning.english for meaning in scenes.dictionary()}
    found = list(said(scenes))
    assert len(found) > 300
    for variant, foreign, english in found:
        layout, things, background, finish = scenes.meaning(variant)
        assert finish is None
        assert isinstance(things, tuple)
        names = {meanings.get(label[::-1], label) for label, _ in things}
        assert all(name in english for name in names), (foreign, english, names)
        assert all(colour in english for _, colour in things if colour)
        assert (" and " in english) == (len(things) == 2), layout
        assert background is None or len(english.split()) > 1
        assert " style" not in english


def test_scenes_that_only_english_can_say_are_none(scenes: SceneSet) -> None:
    variants = [scenes.scene(0, index) for index in range(500)]
    kinds = {scenes.kind(v) for v in variants if scenes.translated(v, Random(0)) is None}
    assert {"count", "placed", "trio"} <= kinds


def test_the_dictionary_has_names_colours_and_articles(scenes: SceneSet) -> None:
    assert isinstance(scenes, Bilingual)
    found = {(one.word, one.english) for one in scenes.dictionary()}
    wanted = {("tac", "cat"), ("rotes", "red"), ("amarilla", "yellow"), ("青い", "blue")}
    assert wanted | {("eine", "a"), ("um", "a"), ("と", "and")} <= found
    assert all(word for word, _ in found)
    moved = {one.word for one in scenes.dictionary() if not one.is_in_place}
    assert {"rouge", "amarilla", "preto"} <= moved
    assert moved.isdisjoint({"rotes", "青い", "eine", "une", "tac"})


def test_the_dictionary_has_further_names_and_spellings_but_no_keywords(art_cache: Path) -> None:
    scenes = open_scenes(art_cache, 128, Selection())
    german = next(lexicon for lexicon in scenes.narrator.lexicons if lexicon.language == "de")
    names = {**german.names, "cat": (*german.names["cat"], "klein")}
    lexicons = {"de": replace(german, names=names)}
    narrator = Narrator(scenes.art, scenes.narrator.things, lexicons, foreign=1.0)
    found = {(one.word, one.english) for one in narrator.dictionary()}
    assert {("tac", "cat"), ("kätzchen", "cat"), ("kaetzchen", "cat"), ("welpe", "dog")} <= found
    assert "klein" not in {word for word, _ in found}
    cat = next(image for image in scenes.images if scenes.art.concept_of(image).label == "cat")
    scene = scene_of(Variant(cat))
    said = {narrator.translated(scene, Random(seed)) for seed in range(300)}
    words = {text for text, _ in filter(None, said)}
    assert {"tac", "kätzchen", "kaetzchen", "eine tac"} <= words
    assert "klein" in {narrator.caption(scene, Random(seed)) for seed in range(300)} - words


def test_english_has_what_the_emoji_set_says(scenes: SceneSet) -> None:
    known = {word for text in scenes.english() for word in text.split()}
    assert {word for text in emoji_words() for word in text.split()} <= known


def test_english_has_every_word_of_its_captions_and_none_of_others(scenes: SceneSet) -> None:
    known = {word for text in scenes.english() for word in text.replace(",", " ").split()}
    rng = Random(1)
    for index in range(2000):
        text = scenes.narrator.english(scenes.composer.draw(rng), rng)
        assert set(text.replace(",", " ").split()) <= known, (index, text)
    assert not {"tac", "rotes", "eine"} & known
