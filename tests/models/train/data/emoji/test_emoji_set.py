from __future__ import annotations

from random import Random

import torch

from models.train.data.data_set import Variant
from models.train.data.emoji.art import KEPT_STYLES
from models.train.data.emoji.captions import Look
from models.train.data.emoji.concepts import is_held_out
from models.train.data.emoji.emoji_set import EmojiSet, Selection


def test_no_drawn_variant_is_held_out(emoji_set: EmojiSet) -> None:
    rng = Random(0)
    for _ in range(3000):
        variant = emoji_set.draw(rng)
        label, style = (
            emoji_set.art.concept_of(variant.image).label,
            emoji_set.art.style_of(variant.image),
        )
        assert style in KEPT_STYLES or not is_held_out(label, "style", style)
        colour, background, finish = variant.look
        assert not colour or not is_held_out(label, "colour", colour)
        assert not background or not is_held_out(label, "background", background)
        assert not finish or not is_held_out(label, "style", finish)


def test_no_listed_variant_is_held_out_and_some_are_missing(emoji_set: EmojiSet) -> None:
    counts = set()
    for image in emoji_set.images:
        variants = list(emoji_set.variants_of(image))
        assert variants[0] == Variant(image, Look())
        assert all(emoji_set.is_allowed(variant) for variant in variants)
        counts.add(len(variants))
    assert len(counts) > 1


def test_no_caption_says_a_held_out_colour(emoji_set: EmojiSet) -> None:
    """A picture whose own colour is held out for its concept is never called by that colour."""
    rng = Random(1)
    for image in emoji_set.images:
        concept = emoji_set.art.concept_of(image)
        for _ in range(20):
            words = emoji_set.caption(Variant(image), rng).split()
            assert not any(is_held_out(concept.label, "colour", w) for w in words if w in COLOURS)


COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "gray")


def test_the_split_covers_all_images(emoji_set: EmojiSet) -> None:
    assert not set(emoji_set.images) & set(emoji_set.held_out)
    assert len(emoji_set.images) + len(emoji_set.held_out) == len(emoji_set.art.rgba)
    assert emoji_set.held_out


def test_a_picture_is_rendered_as_its_variant_says(emoji_set: EmojiSet) -> None:
    image = emoji_set.images[0]
    plain, blue = (
        emoji_set.render(Variant(image, Look(c, b))) for c, b in ((None, None), ("blue", "black"))
    )
    assert plain.shape == blue.shape == (3, 16, 16)
    assert torch.equal(plain[:, 0, 0], torch.ones(3))
    assert blue[:, 0, 0].max() < -0.5
    assert blue[2, 8, 8] > blue[0, 8, 8]


def test_a_selection_narrows_what_stage_2_sees(emoji_set: EmojiSet) -> None:
    chosen = EmojiSet(emoji_set.art, Selection("even", styles=("noto",), varied=("flat",)))
    assert {image % 2 for image in chosen.images} == {0}
    seen = {(chosen.kind(v) == "plain", chosen.art.style_of(v.image)) for v in chosen.variants()}
    assert seen == {(True, "noto"), (False, "flat")}
    kinds = {emoji_set.kind(variant) for variant in emoji_set.variants()}
    assert kinds == set(emoji_set.shares)


def test_a_title_says_which_picture_it_is_and_how_it_is_varied(emoji_set: EmojiSet) -> None:
    image = emoji_set.images[0]
    name = f"{emoji_set.art.concept_of(image).label} {emoji_set.art.style_of(image)}"
    assert emoji_set.title(Variant(image)) == name
    assert (
        emoji_set.title(Variant(image, Look(colour="red", background="sea"))) == f"{name} red sea"
    )


def test_it_is_judged_by_pictures_that_training_never_shows(emoji_set: EmojiSet) -> None:
    judged = emoji_set.judged(5)["val"]
    assert len(judged) == 5
    assert {variant.image for variant in judged} <= set(emoji_set.held_out)
