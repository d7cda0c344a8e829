"""Says what a scene shows: which names, which colours, in which language.

Joins the art's concepts with the words of `captions` (English) and `languages`. What may not
be said is a natural colour whose pair with the concept is held out. Renders nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import numpy as np

from models.train.data.data_set import Meaning
from models.train.data.emoji import looks
from models.train.data.emoji.art import Art
from models.train.data.emoji.captions import COLOUR_WORD, plain_tags
from models.train.data.emoji.captions import vocabulary as emoji_words
from models.train.data.emoji.concepts import Concept, is_held_out
from models.train.data.scenes import captions, languages
from models.train.data.scenes.captions import Said
from models.train.data.scenes.composition import Part, Scene
from models.train.data.scenes.languages import Lexicon
from models.train.data.scenes.things import LANGUAGES, Thing

_STYLE, _KEYWORD, _NATURAL = 0.15, 0.08, 0.06
_SHRINK = 4  # main colours are looked up on every fourth pixel


class Narrator:
    """Captions scenes of this art, a share `foreign` of the simple ones in other languages.

    Without lexicons it speaks English, and no keywords.
    """

    def __init__(
        self,
        art: Art,
        things: Mapping[str, Thing],
        lexicons: Mapping[str, Lexicon],
        foreign: float,
    ) -> None:
        self.art = art
        self.things = things
        self.keywords = lexicons["en"].names if "en" in lexicons else {}
        self.lexicons = [lexicons[name] for name in LANGUAGES if name in lexicons]
        self._plain_lexicons = [lexicon.without_keywords() for lexicon in self.lexicons]
        self.foreign = foreign
        self._natural: dict[int, str] = {}

    def caption(self, scene: Scene, rng: Random) -> str:
        """A random true caption, lower case."""
        if self.lexicons and rng.random() < self.foreign:
            said = self._in_another_language(scene, self.lexicons, rng)
            if said is not None:
                return said[0]
        return self.english(scene, rng)

    def english(self, scene: Scene, rng: Random) -> str:
        """A random true caption in English."""
        text = self._english(scene, rng)
        return captions.finished(text, scene.background, self._style(scene, rng), rng)

    def translated(self, scene: Scene, rng: Random) -> tuple[str, str] | None:
        """A caption in another language, spelt in one of its ways, and what it says in English.

        Without keywords, as the dictionary.
        """
        found = self.lexicons and self._in_another_language(scene, self._plain_lexicons, rng)
        if not found:
            return None
        text, language = found
        names = [self._first_name(self.art.concept_of(part.image)) for part in scene.parts]
        coloured = zip((part.colour for part in scene.parts), names, strict=True)
        said = " and ".join(" ".join(filter(None, pair)) for pair in coloured)
        spelt = rng.choice(languages.spellings(text, language))
        return spelt, captions.finished(said, scene.background, None, rng)

    def dictionary(self) -> tuple[Meaning, ...]:
        """What concepts are called in each language, but for keywords, and the tables' words."""
        said = [
            Meaning(spelling, self._first_name(concept))
            for lexicon in self._plain_lexicons
            for concept in self.art.concepts
            for name in lexicon.names[concept.label]
            for spelling in languages.spellings(name, lexicon.language)
        ]
        return (*said, *languages.dictionary())

    def english_words(self) -> tuple[str, ...]:
        """Every name, tag and keyword in English, and every word of its and the emoji's templates.

        A model may have been trained on either set.
        """
        concepts = self.art.concepts
        names = [name for concept in concepts for name in (*concept.names, *plain_tags(concept))]
        forms = [form for thing in self.things.values() for pair in thing.names for form in pair]
        keywords = [name for names in self.keywords.values() for name in names]
        return (*captions.vocabulary(), *emoji_words(), *names, *forms, *keywords)

    def _first_name(self, concept: Concept) -> str:
        """What it is called most often."""
        thing = self.things.get(concept.label)
        return thing.names[0][0] if thing else concept.names[0]

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the templates and every name in every language, for a tokenizer."""
        english = [name for concept in self.art.concepts for name in concept.names]
        plurals = [plural for thing in self.things.values() for _, plural in thing.names]
        foreign = [name for lex in self.lexicons for names in lex.names.values() for name in names]
        return (*captions.vocabulary(), *languages.words(), *english, *plurals, *foreign)

    def _english(self, scene: Scene, rng: Random) -> str:
        part = scene.parts[0]
        match scene.kind:
            case "single":
                said = self._said(part, rng, scene.place, is_plain=scene.finish is None)
                return captions.alone(said, scene.finish, rng)
            case "placed":
                return captions.placed(self._said(part, rng), scene.place, rng)
            case "count":
                is_row = len({part.box.y for part in scene.parts}) == 1
                said = self._said(part, rng)
                return captions.counted(said, len(scene.parts), is_row, rng)
            case _:
                things = [
                    self._said(part, rng, size)
                    for part, size in zip(scene.parts, _sizes(scene, rng), strict=True)
                ]
                return captions.together(things, scene.place, rng)

    def _said(self, part: Part, rng: Random, size: str = "", *, is_plain: bool = False) -> Said:
        concept = self.art.concept_of(part.image)
        colour = part.colour
        if colour is None and is_plain and rng.random() < _NATURAL:
            colour = self._sayable_colour(part.image, concept)
        thing = self.things.get(concept.label)
        names = thing.names if thing else ()
        bare = concept.names
        if rng.random() < _KEYWORD and colour is None and not size:
            bare = self.keywords.get(concept.label, bare)
        if colour is not None:
            names = tuple(pair for pair in names if not COLOUR_WORD.search(pair[0]))
            bare = tuple(name for name in bare if not COLOUR_WORD.search(name))
        return Said(names, bare, colour, size)

    def _sayable_colour(self, image: int, concept: Concept) -> str | None:
        """The picture's own main colour: a banana as drawn may be called a yellow banana."""
        if all(COLOUR_WORD.search(name) for name in concept.names):
            return None
        if image not in self._natural:
            small = self.art.rgba[image, ::_SHRINK, ::_SHRINK].astype(np.float32)
            self._natural[image] = looks.main_colour(small / np.float32(255))
        colour = self._natural[image]
        return None if is_held_out(concept.label, "colour", colour) else colour

    def _style(self, scene: Scene, rng: Random) -> str | None:
        """The art set's word, at times; never for what no longer looks like that set."""
        is_as_drawn = scene.finish is None and all(part.colour is None for part in scene.parts)
        if not is_as_drawn or rng.random() >= _STYLE:
            return None
        styles = {self.art.style_of(part.image) for part in scene.parts}
        return styles.pop() if len(styles) == 1 else None

    def _in_another_language(
        self, scene: Scene, lexicons: Sequence[Lexicon], rng: Random
    ) -> tuple[str, str] | None:
        """A caption in one of them, where it has the words, and which language it is."""
        is_simple = scene.layout in {"single/", "pair/beside"}
        if not is_simple or scene.finish is not None:
            return None
        concepts = (self.art.concept_of(p.image) for p in scene.parts)
        things = [(c.label, p.colour) for c, p in zip(concepts, scene.parts, strict=True)]
        lexicon = rng.choice(lexicons)
        text = languages.caption(lexicon, things, scene.background, rng)
        return None if text is None else (text, lexicon.language)


def _sizes(scene: Scene, rng: Random) -> list[str]:
    """A word for each thing of a pair of which one is bigger, or only for one of them, or none."""
    sides = [part.box.size for part in scene.parts]
    if scene.place not in ("beside", "above") or len(set(sides)) == 1:
        return [""] * len(sides)
    words = ["big" if side == max(sides) else "small" for side in sides]
    return [word if rng.random() < 0.75 else "" for word in words]
