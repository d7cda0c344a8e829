"""From a scene to English words for it, as people would type them, with grammar.

Knows no pixels and no held-out rules. A caption says only what the scene shows; articles and
plurals stand only before curated things, whose forms are written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from models.train.data.emoji.captions import FINISH_WORDS, SCENE_WORDS
from models.train.data.emoji.looks import BACKGROUND_COLOURS

_OPENINGS = ("picture of {}", "a picture of {}", "emoji of {}", "drawing of {}", "an image of {}")
_STYLE_FORMS = ("{} in {} style", "{}, {} style")
_SIZES = {"small": ("small", "small", "little", "tiny"), "big": ("big", "big", "large", "huge")}
_NUMBERS = {
    2: ("two", "two", "2", "a pair of"),
    3: ("three", "three", "3"),
    4: ("four", "four", "4"),
}
_BESIDE = (
    *["{0} and {1}"] * 3,
    *["{1} and {0}"] * 2,
    "{0} with {1}",
    "{1} with {0}",
    *["{0} next to {1}", "{1} next to {0}"] * 2,
    "{0} beside {1}",
    "{0} left of {1}",
    "{0} to the left of {1}",
    "{1} right of {0}",
    "{1} to the right of {0}",
    "{0} on the left and {1} on the right",
)
_FORMS: dict[str, tuple[str, ...]] = {
    "beside": _BESIDE,
    "above": (
        *["{0} above {1}"] * 3,
        "{0} over {1}",
        *["{1} below {0}"] * 2,
        "{1} under {0}",
        "{1} beneath {0}",
        "{0} and {1}",
    ),
    "on": (*["{0} on {1}"] * 3, *["{0} on top of {1}"] * 2, "{1} with {0} on top", "{1} under {0}"),
    "in front": (*["{0} in front of {1}"] * 3, *["{1} behind {0}"] * 2, "{0} and {1}"),
    "row": (*["{0}, {1} and {2}"] * 3, "{0}, {1}, and {2}", *["{1} between {0} and {2}"] * 2),
    "one above two": ("{0} above {1} and {2}", "{1} and {2} below {0}", "{0}, {1} and {2}"),
    "one below two": ("{0} below {1} and {2}", "{1} and {2} above {0}", "{1}, {2} and {0}"),
}
_BACKDROP_WORDS = {
    **SCENE_WORDS,
    "day": ("by day", "during the day", "in the daytime", "on a sunny day"),
    "snowfall": ("in falling snow", "while it is snowing", "in a snowstorm", "on a snowy day"),
}


@dataclass(frozen=True, slots=True)
class Said:
    """What may be said of one thing.

    `names` are pairs of singular and plural, `bare` further names that get no article. At least
    one of the two has an entry.
    """

    names: Sequence[tuple[str, str]]
    bare: Sequence[str] = ()
    colour: str | None = None
    size: str = ""


def alone(thing: Said, finish: str | None, rng: Random) -> str:
    """One thing by itself."""
    if finish is not None:
        text = rng.choice(FINISH_WORDS[finish]).format(_name(thing, rng))
        return text if thing.names else text.replace(" of a ", " of ")
    if not thing.names or (thing.bare and rng.random() < 0.5):
        return _described(thing, rng.choice(thing.bare), rng)
    phrase = _phrase(thing, rng)
    return rng.choice(_OPENINGS).format(phrase) if rng.random() < 0.2 else phrase


def placed(thing: Said, place: str, rng: Random) -> str:
    """One thing somewhere: `place` is a name of `layouts.PLACES`."""
    return f"{_phrase(thing, rng)} {rng.choice(_place_words(place))}"


def counted(thing: Said, number: int, is_row: bool, rng: Random) -> str:
    """Two to four of one thing."""
    plurals = [plural for _, plural in thing.names]
    words = [rng.choice(_NUMBERS[number]), thing.colour, rng.choice(plurals[:1] * 2 + plurals)]
    text = " ".join(filter(None, words))
    return f"{text} in a row" if is_row and number > 2 and rng.random() < 0.5 else text


def together(things: Sequence[Said], place: str, rng: Random) -> str:
    """Two or three things, said in the order of the layout's boxes."""
    article = rng.choices(("a", "the", ""), (0.78, 0.06, 0.16))[0]
    phrases = [_with_article(_described(t, _name(t, rng), rng), article) for t in things]
    return rng.choice(_FORMS[place]).format(*phrases)


def finished(text: str, background: str | None, style: str | None, rng: Random) -> str:
    """A caption with its background and style said as well; "a apple" becomes "an apple"."""
    if background in BACKGROUND_COLOURS:
        form = rng.choice(("{} on a {} background", "{} on a {} background", "{}, {} background"))
        text = form.format(text, background)
    elif background is not None:
        text = f"{text} {rng.choice(_BACKDROP_WORDS[background])}"
    if style is not None:
        text = rng.choice(_STYLE_FORMS).format(text, style)
    return re.sub(r"\ba (?=[aeio]|u(?!ni|fo))", "an ", text)


def vocabulary() -> tuple[str, ...]:
    """Every word of the templates, so that a tokenizer trained on captions has seen them all."""
    forms = [form for group in _FORMS.values() for form in group]
    sizes = [word for group in _SIZES.values() for word in group]
    numbers = [word for group in _NUMBERS.values() for word in group]
    behind = [word for group in _BACKDROP_WORDS.values() for word in group]
    places = [word for place in ("top left", "bottom right") for word in _place_words(place)]
    plain = (re.sub(r"[{}0-9]", "", text) for text in (*forms, *_OPENINGS))
    return (*plain, *sizes, *numbers, *behind, *places)


def _place_words(place: str) -> tuple[str, ...]:
    vertical, _, side = place.partition(" ")
    if side:
        other = {"top": "upper", "bottom": "lower"}[vertical]
        return (f"in the {place} corner", f"in the {other} {side} corner", f"at the {place}")
    if place in ("left", "right"):
        return (f"on the {place}", f"on the {place}", f"on the {place} side")
    return (f"at the {place}", f"at the {place}", f"at the {place} of the picture")


def _name(thing: Said, rng: Random) -> str:
    """One of its names, the commonest more often."""
    names = [singular for singular, _ in thing.names]
    return rng.choice(names[:1] * 2 + names) if names else rng.choice(thing.bare)


def _described(thing: Said, name: str, rng: Random) -> str:
    """A name with size and colour, no article."""
    size = rng.choice(_SIZES[thing.size]) if thing.size else ""
    return " ".join(filter(None, (size, thing.colour, name)))


def _phrase(thing: Said, rng: Random) -> str:
    article = rng.choice(("a", "a", "a", "the")) if thing.names else ""
    return _with_article(_described(thing, _name(thing, rng), rng), article)


def _with_article(text: str, article: str) -> str:
    return f"{article} {text}" if article else text
