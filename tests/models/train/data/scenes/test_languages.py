from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from models.train.data.data_set import Meaning
from models.train.data.emoji.concepts import Concept
from models.train.data.emoji.looks import COLOURS
from models.train.data.scenes import languages
from models.train.data.scenes.languages import CLDR, Lexicon, load_lexicons
from models.train.data.scenes.things import LANGUAGES, load_things

HEART = Concept("red heart", "2764-FE0F", "symbols", (), ())
CAT = Concept("cat", "1F408", "animals", (), ())
EAGLE = Concept("eagle", "1F985", "animals", (), ())
SHORT = {
    "en": ("red heart", "cat", "eagle"),
    "de": ("rotes Herz", "Katze", "Adler"),
    "fr": ("cœur rouge", "chat", "aigle"),
    "es": ("corazón rojo", "gato", "águila"),
    "pt": ("coração vermelho", "gato", "águia"),
    "ja": ("赤いハート", "ネコ", "ワシ"),
}


def write(modules: Path, language: str, rows: dict[str, dict[str, list[str]]]) -> None:
    """A package laid out as CLDR's, with these entries alone."""
    path = modules / CLDR[0] / "annotations" / language / "annotations.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"annotations": {"annotations": rows}}))


@pytest.fixture(scope="module")
def lexicons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lexicon]:
    """Read from a package laid out as CLDR's, with three of its entries."""
    modules = tmp_path_factory.mktemp("modules")
    for language, names in SHORT.items():
        rows = {
            character: {"tts": [name], "default": [name, "Animal" if i else "Love", f"only{i}"]}
            for i, (character, name) in enumerate(zip("❤🐈🦅", names, strict=True))
        }
        write(modules, language, rows)
    return load_lexicons(modules, (HEART, CAT, EAGLE), load_things())


def said(lexicon: Lexicon, *things: tuple[str, str | None], behind: str | None = None) -> set[str]:
    made = {languages.caption(lexicon, things, behind, Random(seed)) for seed in range(60)}
    return {text for text in made if text is not None}


def test_a_keyword_names_a_concept_only_if_no_other_has_it(lexicons: dict[str, Lexicon]) -> None:
    assert lexicons["en"].names["cat"] == ("cat", "only1")
    assert lexicons["de"].names["red heart"] == ("herz", "rotes herz", "love", "only0")


def test_what_people_say_comes_before_keywords(lexicons: dict[str, Lexicon]) -> None:
    assert lexicons["de"].names["cat"] == ("katze", "kätzchen", "kater", "only1")


def test_keywords_can_be_left_out(lexicons: dict[str, Lexicon]) -> None:
    plain = lexicons["de"].without_keywords()
    assert plain.names["cat"] == ("katze", "kätzchen", "kater")
    assert plain.names["red heart"] == ("herz",)
    assert plain.nouns == lexicons["de"].nouns


@pytest.mark.parametrize(
    ("word", "language", "typed"),
    [
        ("katze", "de", ("katze",)),
        ("weißer bär", "de", ("weißer bär", "weisser baer")),
        ("feu d’artifice", "fr", ("feu d’artifice", "feu d'artifice")),
        ("cœur de bébé", "fr", ("cœur de bébé", "coeur de bebe")),
        ("piñata", "es", ("piñata", "pinata")),
        ("ガラス", "ja", ("ガラス",)),
    ],
)
def test_a_word_is_also_spelt_as_a_keyboard_without_its_letters_has_it(
    word: str, language: str, typed: tuple[str, ...]
) -> None:
    assert languages.spellings(word, language) == typed


def test_a_keyword_that_is_another_things_further_name_is_none(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    modules = tmp_path_factory.mktemp("modules")
    for language in SHORT:
        rows = {
            "❤": {"tts": ["heart"], "default": ["chaton", "love"]},
            "🐈": {"tts": ["cat"], "default": ["purr"]},
        }
        write(modules, language, rows)
    french = load_lexicons(modules, (HEART, CAT), load_things())["fr"]
    assert french.names == {"red heart": ("cœur", "love"), "cat": ("cat", "chaton", "purr")}


@pytest.mark.parametrize(
    ("language", "heart", "both"),
    [
        ("de", "ein rotes herz", "eine schwarze katze und ein rotes herz"),
        ("fr", "un cœur rouge", "un chat noir et un cœur rouge"),
        ("es", "un corazón rojo", "un gato negro y un corazón rojo"),
        ("pt", "um coração vermelho", "um gato preto e um coração vermelho"),
        ("ja", "赤いハート", "黒いネコと赤いハート"),
    ],
)
def test_colours_agree_with_their_nouns(
    language: str, heart: str, both: str, lexicons: dict[str, Lexicon]
) -> None:
    assert heart in said(lexicons[language], ("red heart", "red"))
    assert both in said(lexicons[language], ("cat", "black"), ("red heart", "red"))


def test_plain_things_are_their_names_with_or_without_article(
    lexicons: dict[str, Lexicon],
) -> None:
    assert {"katze", "eine katze"} <= said(lexicons["de"], ("cat", None))
    assert said(lexicons["ja"], ("cat", None)) == {"ネコ", "猫", "ねこ", "only1"}


def test_a_background_is_said_or_the_caption_left_to_english(
    lexicons: dict[str, Lexicon],
) -> None:
    assert "un chat la nuit" in said(lexicons["fr"], ("cat", None), behind="night")
    assert "夜のネコ" in said(lexicons["ja"], ("cat", None), behind="night")
    assert not said(lexicons["fr"], ("cat", None), behind="pink")


def test_no_article_stands_where_the_list_forbids_it(lexicons: dict[str, Lexicon]) -> None:
    assert not said(lexicons["es"], ("eagle", "red"))
    assert said(lexicons["es"], ("eagle", None)) == {"águila", "only2"}


def test_every_language_has_all_colours(lexicons: dict[str, Lexicon]) -> None:
    for language in LANGUAGES:
        assert len({frozenset(said(lexicons[language], ("cat", c))) for c in COLOURS}) == len(
            COLOURS
        )
        assert all(said(lexicons[language], ("cat", colour)) for colour in COLOURS)


def test_the_dictionary_has_backgrounds_articles_and_colours() -> None:
    found = languages.dictionary()
    assert {
        Meaning("bei nacht", "at night"),
        Meaning("雪の中の", "in the snow", is_in_place=False),
        Meaning("une", "a"),
        Meaning("rotes", "red"),
        Meaning("roja", "red", is_in_place=False),
        Meaning("weisses", "white"),
        Meaning("a noite", "at night"),
    } <= set(found)
    assert len(found) == len(set(found))


def test_the_tokenizers_words_have_no_marks_of_the_tables() -> None:
    assert {"rosa", "noire", "und", "ein", "赤い", "bei nacht"} <= set(languages.words())
    assert not any(mark in word for word in languages.words() for mark in "!/")
