from __future__ import annotations

from random import Random

import pytest

from models.train.data.emoji.captions import Look, caption, plain_names
from models.train.data.emoji.concepts import Concept

CAT = Concept("cat face", "1F431", "animals", ("kitten",), ("animal", "pet"))
BLUE_HEART = Concept("blue heart", "1F499", "symbols", (), ())


def said(look: Look, style: str | None = None) -> set[str]:
    return {caption(CAT, look, style, Random(seed)) for seed in range(300)}


def test_a_plain_caption_names_the_concept() -> None:
    texts = said(Look())
    assert {"cat face", "kitten", "a kitten"} <= texts
    assert all("background" not in text and "style" not in text for text in texts)


def test_a_tag_may_stand_for_a_plain_picture() -> None:
    assert said(Look()) & {"animal", "pet"}


@pytest.mark.parametrize(
    ("look", "word"),
    [
        (Look(colour="blue"), "blue"),
        (Look(background="green"), "green background"),
        (Look(background="night"), "night"),
        (Look(finish="silhouette"), "silhouette"),
    ],
)
def test_what_is_shown_is_said(look: Look, word: str) -> None:
    texts = said(look)
    hits = [text for text in texts if word in text]
    assert len(hits) > len(texts) / 2
    if word != "night":  # a scene has other words, too
        assert hits == list(texts)


def test_the_style_is_said_when_asked() -> None:
    assert all("flat" in text for text in said(Look(), "flat"))


def test_an_article_fits_its_word() -> None:
    owl = Concept("owl", "1F989", "animals", (), ())
    texts = {caption(owl, Look(), None, Random(seed)) for seed in range(300)}
    assert "an owl" in texts
    assert "a owl" not in texts


def test_names_with_a_colour_cannot_be_painted() -> None:
    assert plain_names(CAT) == ("cat face", "kitten")
    assert plain_names(BLUE_HEART) == ()
