from __future__ import annotations

from random import Random

import torch

from models.train.data.captions import Variant
from models.train.data.concepts import is_held_out
from models.train.data.emoji import KEPT_STYLES, EmojiSet


def test_no_drawn_variant_is_held_out(emoji_set: EmojiSet) -> None:
    rng = Random(0)
    for _ in range(3000):
        variant = emoji_set.draw(rng)
        label, style = emoji_set.concept(variant.image).label, emoji_set.style(variant.image)
        assert style in KEPT_STYLES or not is_held_out(label, "style", style)
        assert not variant.colour or not is_held_out(label, "colour", variant.colour)
        assert not variant.background or not is_held_out(label, "background", variant.background)
        assert not variant.finish or not is_held_out(label, "style", variant.finish)


def test_no_listed_variant_is_held_out_and_some_are_missing(emoji_set: EmojiSet) -> None:
    counts = set()
    for image in emoji_set.images:
        variants = list(emoji_set.variants(image))
        assert variants[0] == Variant(image)
        assert all(emoji_set.is_allowed(variant) for variant in variants)
        counts.add(len(variants))
    assert len(counts) > 1


def test_no_caption_says_a_held_out_colour(emoji_set: EmojiSet) -> None:
    """A picture whose own colour is held out for its concept is never called by that colour."""
    rng = Random(1)
    for image in emoji_set.images:
        concept = emoji_set.concept(image)
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
        emoji_set.render(Variant(image, colour=c, background=b))
        for c, b in ((None, None), ("blue", "black"))
    )
    assert plain.shape == blue.shape == (3, 16, 16)
    assert torch.equal(plain[:, 0, 0], torch.ones(3))
    assert blue[:, 0, 0].max() < -0.5
    assert blue[2, 8, 8] > blue[0, 8, 8]
