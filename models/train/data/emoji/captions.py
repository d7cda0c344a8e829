"""From a picture's look to the words for it, as people would type them.

Knows no pixels. A caption only ever says what is shown: the concept, and the colour, finish, style
and background if there are any.
"""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

from models.train.data.emoji.concepts import Concept
from models.train.data.emoji.looks import BACKGROUNDS, COLOURS, FINISHES, is_scene

COLOUR_WORD = re.compile(r"\b(" + "|".join(COLOURS) + r"|gold)\b")
_PLAIN_TAG = re.compile(r"[a-z]{3,}( [a-z]{3,})?")
SCENE_WORDS: dict[str, tuple[str, ...]] = {
    "night": ("at night", "in the night", "under the stars"),
    "grass": ("on grass", "on the grass", "in a field"),
    "sunset": ("at sunset", "in the sunset"),
    "snow": ("in the snow", "on snow", "in winter"),
    "sea": ("in the sea", "at sea", "on water", "in the water"),
}
FINISH_WORDS: dict[str, tuple[str, ...]] = {
    "silhouette": ("silhouette of a {}", "{} silhouette", "black silhouette of a {}"),
    "grayscale": ("black and white {}", "{} in black and white", "grayscale {}"),
}
_STYLE_FORMS = ("{} in {} style", "{1} {0}", "{}, {} style", "{1} style {0}")
_OPENINGS = ("a {}", "a {}", "the {}", "picture of a {}", "emoji of a {}", "drawing of a {}")


class Look(NamedTuple):
    """How a picture is varied; None: as drawn. It is the `look` of the set's variants."""

    colour: str | None = None
    background: str | None = None
    finish: str | None = None


def plain_names(concept: Concept) -> tuple[str, ...]:
    """The names that say no colour; empty for "blue heart" and its like."""
    return tuple(name for name in concept.names if not COLOUR_WORD.search(name))


def plain_tags(concept: Concept) -> tuple[str, ...]:
    """The tags that are one or two plain words, which captions may say."""
    return tuple(tag for tag in concept.tags if _PLAIN_TAG.fullmatch(tag))


def _name(concept: Concept, has_colour: bool, rng: Random) -> str:
    names = plain_names(concept) if has_colour else concept.names
    words = plain_tags(concept)
    if not has_colour and words and rng.random() < 0.05:
        return rng.choice(words)
    return rng.choice(names)


def _article(text: str) -> str:
    """ "a apple" → "an apple", "a shoes" stays: captions need no perfect grammar."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def _placed(text: str, background: str, rng: Random) -> str:
    if is_scene(background):
        return f"{text} {rng.choice(SCENE_WORDS[background])}"
    form = rng.choice(("{} on a {} background", "{} on a {} background", "{}, {} background"))
    return form.format(text, background)


def caption(concept: Concept, look: Look, style: str | None, rng: Random) -> str:
    """A random true caption, lower case; `style` names the art set, or None leaves it unsaid."""
    text = _name(concept, look.colour is not None, rng)
    if look.colour is not None:
        text = rng.choice(("{1} {0}", "{1} {0}", "{1} {0}", "{} in {}")).format(text, look.colour)
    if look.finish is not None:
        text = rng.choice(FINISH_WORDS[look.finish]).format(text)
    elif style is not None:
        text = rng.choice(_STYLE_FORMS).format(text, style)
    elif rng.random() < 0.2:
        text = rng.choice(_OPENINGS).format(text)
    if look.background is not None:
        text = _placed(text, look.background, rng)
    return _article(text)


def vocabulary() -> tuple[str, ...]:
    """Every word of the templates, so that a tokenizer trained on captions has seen them all."""
    scenes = [words for forms in SCENE_WORDS.values() for words in forms]
    finishes = [form.format("") for forms in FINISH_WORDS.values() for form in forms]
    openings = [form.format("") for form in _OPENINGS]
    return (*COLOURS, *BACKGROUNDS, *FINISHES, *scenes, *finishes, *openings, "background", "style")
