from __future__ import annotations

from models.train.data.emoji.concepts import LIST as CONCEPTS
from models.train.data.emoji.concepts import parse_list
from models.train.data.scenes.things import (
    LANGUAGES,
    LIST,
    load_more_names,
    load_things,
    parse_more_names,
    parse_things,
)


def test_the_list_is_150_to_200_known_concepts_each_once() -> None:
    things = parse_things(LIST.read_text("utf-8"))
    labels = [thing.label for thing in things]
    assert len(labels) == len(set(labels))
    assert 150 <= len(labels) <= 200
    assert set(labels) <= {label for _, label, _ in parse_list(CONCEPTS.read_text("utf-8"))}


def test_every_thing_has_plurals_and_genders() -> None:
    for thing in load_things().values():
        assert thing.names
        assert all(singular and plural for singular, plural in thing.names)
        assert set(thing.nouns) == set(LANGUAGES)
        genders = {language: noun.gender for language, noun in thing.nouns.items()}
        assert genders["de"] in set("mfn-")
        assert {genders[language] for language in ("fr", "es", "pt")} <= set("mf-")


def test_no_name_is_two_things() -> None:
    names = [singular for thing in load_things().values() for singular, _ in thing.names]
    assert len(names) == len(set(names))


def test_further_names_are_of_known_concepts_and_each_of_one() -> None:
    labels = {label for _, label, _ in parse_list(CONCEPTS.read_text("utf-8"))}
    for known in load_more_names().values():
        assert known.keys() <= labels
        names = [name for told in known.values() for name in told]
        assert len(names) == len(set(names))
        assert all(name and name == name.strip().lower() for name in names)


def test_further_names_are_parsed_by_language() -> None:
    found = parse_more_names("# animals\n\ndog = de: welpe; ja: 犬, いぬ\ncat = ja: 猫\n")
    assert found["ja"] == {"dog": ("犬", "いぬ"), "cat": ("猫",)}
    assert (found["de"], found["fr"]) == ({"dog": ("welpe",)}, {})


def test_a_line_is_parsed_whole() -> None:
    (wolf,) = parse_things(
        "# animals\n\nwolf = wolf/wolves, cub/cubs; m, m, - , f loba, オオカミ\n"
    )
    assert wolf.label == "wolf"
    assert wolf.names == (("wolf", "wolves"), ("cub", "cubs"))
    assert (wolf.nouns["de"].gender, wolf.nouns["de"].name) == ("m", None)
    assert (wolf.nouns["pt"].gender, wolf.nouns["pt"].name) == ("f", "loba")
    assert wolf.nouns["ja"].name == "オオカミ"
