"""Words for the concepts from CLDR's annotations: English keywords, and five other languages.

A keyword names a concept where no other concept has it. Captions of other languages keep to what a
few tables can say without mistakes: a name, an article, a colour, "and", four backgrounds. Knows no
pictures.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from models.train.data.data_set import Meaning
from models.train.data.emoji.captions import SCENE_WORDS
from models.train.data.emoji.concepts import Concept
from models.train.data.emoji.looks import COLOURS
from models.train.data.scenes.things import LANGUAGES, Noun, Thing, load_more_names

CLDR = ("cldr-annotations-full", "48.2.0")  # Unicode-3.0

_ARTICLES = {
    "de": {"m": "ein", "f": "eine", "n": "ein"},
    "fr": {"m": "un", "f": "une"},
    "es": {"m": "un", "f": "una"},
    "pt": {"m": "um", "f": "uma"},
}
_AND = {"de": " und ", "fr": " et ", "es": " y ", "pt": " e ", "ja": "と"}
# In COLOURS' order: masculine/feminine, or one form for both; German stems; Japanese as prefixes.
_COLOUR_WORDS = {
    "de": "rot orange! gelb grün blau lila! rosa! braun schwarz grau weiß",
    "fr": "rouge orange jaune vert/verte bleu/bleue violet/violette rose marron noir/noire"
    " gris/grise blanc/blanche",
    "es": "rojo/roja naranja amarillo/amarilla verde azul morado/morada rosa marrón negro/negra"
    " gris blanco/blanca",
    "pt": "vermelho/vermelha laranja amarelo/amarela verde azul roxo/roxa rosa marrom preto/preta"
    " cinza branco/branca",
    "ja": "赤い オレンジ色の 黄色い 緑の 青い 紫の ピンクの 茶色の 黒い 灰色の 白い",
}
_COLOUR_FIRST = ("de", "ja")  # elsewhere the thing is said first
_GERMAN_ENDINGS = {"m": "er", "f": "e", "n": "es"}
_BEHIND = ("night", "snow", "sea", "sunset")
_BEHIND_WORDS = {
    "de": ("bei nacht", "im schnee", "im meer", "bei sonnenuntergang"),
    "fr": ("la nuit", "dans la neige", "dans la mer", "au coucher du soleil"),
    "es": ("de noche", "en la nieve", "en el mar", "al atardecer"),
    "pt": ("à noite", "na neve", "no mar", "ao pôr do sol"),
    "ja": ("夜の", "雪の中の", "海の", "夕焼けの"),
}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language's words, all lower case.

    `names` has each concept's short name first, then all else that it is called, keywords last;
    `further` are those that are no keywords; `nouns` what may have an article and a colour.
    """

    language: str
    names: Mapping[str, tuple[str, ...]]
    further: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nouns: Mapping[str, Noun] = field(default_factory=dict)

    def without_keywords(self) -> Lexicon:
        """The same with names alone: many keywords are common words of other things ("klein")."""
        return replace(
            self,
            names={
                label: (names[0], *self.further.get(label, ()))
                for label, names in self.names.items()
            },
        )


def load_lexicons(
    modules: Path, concepts: Sequence[Concept], things: Mapping[str, Thing]
) -> dict[str, Lexicon]:
    """Read the package in `modules`: a lexicon for "en" and each of LANGUAGES."""
    made, more_names = {}, load_more_names()
    for language in ("en", *LANGUAGES):
        path = modules / CLDR[0] / "annotations" / language / "annotations.json"
        rows = json.loads(path.read_text("utf-8"))["annotations"]["annotations"]
        more = more_names.get(language, {})
        made[language] = _lexicon(language, rows, concepts, things, more)
    return made


def caption(
    lexicon: Lexicon,
    things: Sequence[tuple[str, str | None]],
    background: str | None,
    rng: Random,
) -> str | None:
    """Words for one or two (label, colour), or None where this language lacks them."""
    behind = _behind(lexicon.language, background)
    if behind is None:
        return None
    label, colour = things[0]
    if len(things) == 1 and colour is None and rng.random() < 0.6:
        names = lexicon.names[label]
        text = names[0] if rng.random() < 0.7 else rng.choice(names)
    else:
        has_articles = rng.random() < 0.7
        phrases = [_phrase(lexicon, label, colour, has_articles) for label, colour in things]
        if None in phrases:
            return None
        text = _AND[lexicon.language].join(filter(None, phrases))
    if lexicon.language == "ja":
        return behind + text
    return f"{text} {behind}".rstrip()


def words() -> tuple[str, ...]:
    """Every word of the tables, for a tokenizer."""
    colours = re.split(r"[ /!]+", " ".join(_COLOUR_WORDS.values()))
    articles = [word for table in _ARTICLES.values() for word in table.values()]
    behind = [word for row in _BEHIND_WORDS.values() for word in row]
    return (*filter(None, colours), *articles, *map(str.strip, _AND.values()), *behind)


def spellings(word: str, language: str) -> tuple[str, ...]:
    """A word, and how it is typed where a keyboard lacks a letter of it."""
    straight = word.replace("’", "'")
    plain = straight.replace("œ", "oe").replace("ß", "ss")
    if language == "de":
        plain = plain.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue")
    elif language != "ja":
        letters = unicodedata.normalize("NFD", plain)
        plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return tuple(dict.fromkeys((word, straight, plain)))


def dictionary() -> tuple[Meaning, ...]:
    """Colours in every form, articles, backgrounds and "and" of all languages."""
    return tuple(
        dict.fromkeys(
            Meaning(spelling, english, is_in_place)
            for language in LANGUAGES
            for word, english, is_in_place in _table(language)
            for spelling in spellings(word, language)
        )
    )


def _table(language: str) -> Iterator[tuple[str, str, bool]]:
    """Of one language: word, English, and whether it stands in the same place."""
    yield _AND[language].strip(), "and", True
    for said, name in zip(_BEHIND_WORDS[language], _BEHIND, strict=True):
        yield said, SCENE_WORDS[name][0], language != "ja"
    genders = _ARTICLES.get(language, {"": ""})
    for article in filter(None, genders.values()):
        yield article, "a", True
    for colour in COLOURS:
        for gender in genders:
            yield _colour_word(language, colour, gender), colour, language in _COLOUR_FIRST


def _behind(language: str, background: str | None) -> str | None:
    """Words for a background, empty for none; None where this language lacks them."""
    if background is None:
        return ""
    if background not in _BEHIND:
        return None
    return _BEHIND_WORDS[language][_BEHIND.index(background)]


def _lexicon(
    language: str,
    rows: Mapping[str, dict[str, list[str]]],
    concepts: Sequence[Concept],
    things: Mapping[str, Thing],
    more: Mapping[str, tuple[str, ...]],
) -> Lexicon:
    entries = {concept.label: rows[_character(concept)] for concept in concepts}
    use = Counter(w.lower() for entry in entries.values() for w in set(entry["default"]))
    use.update(name for known in more.values() for name in known)
    names, nouns = {}, {}
    for label, entry in entries.items():
        short = entry["tts"][0].lower()
        if (thing := things.get(label)) is not None and language in thing.nouns:
            gender, own_name = thing.nouns[language].gender, thing.nouns[language].name
            short = (own_name or short).lower()
            nouns[label] = Noun(gender, short)
        keywords = (w.lower() for w in entry["default"] if use[w.lower()] == 1 and len(w) > 1)
        names[label] = tuple(dict.fromkeys((short, *more.get(label, ()), *keywords)))
    return Lexicon(language, names, more, nouns)


def _character(concept: Concept) -> str:
    """The emoji itself, as CLDR's keys have it: without the variation selector."""
    points = (chr(int(code, 16)) for code in concept.hexcode.split("-"))
    return "".join(points).replace("\ufe0f", "")


def _phrase(lexicon: Lexicon, label: str, colour: str | None, has_article: bool) -> str | None:
    """A thing with article and colour; None where that can't be said."""
    language, noun = lexicon.language, lexicon.nouns.get(label)
    if noun is None or noun.gender == "-" or noun.name is None:
        return None
    adjective = _colour_word(language, colour, noun.gender) if colour else ""
    if language == "ja":
        return adjective + noun.name
    article = _ARTICLES[language][noun.gender] if has_article else ""
    order = (article, adjective, noun.name) if language == "de" else (article, noun.name, adjective)
    return " ".join(filter(None, order))


def _colour_word(language: str, colour: str, gender: str) -> str:
    word = _COLOUR_WORDS[language].split()[list(COLOURS).index(colour)]
    if language == "de":
        return word[:-1] if word.endswith("!") else word + _GERMAN_ENDINGS[gender]
    masculine, _, feminine = word.partition("/")
    return feminine if gender == "f" and feminine else masculine
