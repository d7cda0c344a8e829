from __future__ import annotations

from models.train.data.emoji.concepts import HOLD_OUT_ONE_IN, LIST, Concept, is_held_out, parse_list


def test_the_list_names_each_concept_once_and_in_all_groups() -> None:
    rows = parse_list(LIST.read_text())
    labels = [label for _, label, _ in rows]
    assert len(labels) == len(set(labels)) > 400
    assert {"faces", "animals", "food", "objects", "symbols", "travel"} <= {g for g, _, _ in rows}


def test_a_line_is_a_label_and_its_synonyms() -> None:
    assert parse_list("# food\npizza: slice of pizza, pie\negg\n") == [
        ("food", "pizza", ("slice of pizza", "pie")),
        ("food", "egg", ()),
    ]


def test_slug_and_names_of_a_concept() -> None:
    concept = Concept("man’s Shoe", "1F45E", "objects", ("shoe",), ())
    assert concept.slug == "mans-shoe"
    assert concept.names == ("man's shoe", "shoe")


def test_hold_out_is_fixed_and_near_its_share() -> None:
    held = [is_held_out(f"concept {i}", "colour", "blue") for i in range(4000)]
    assert held == [is_held_out(f"concept {i}", "colour", "blue") for i in range(4000)]
    assert abs(sum(held) / len(held) - 1 / HOLD_OUT_ONE_IN) < 0.02
    # Written down: a change would let a new run train on what an old one held out.
    assert is_held_out("octopus", "colour", "blue")
    assert not is_held_out("octopus", "colour", "green")
