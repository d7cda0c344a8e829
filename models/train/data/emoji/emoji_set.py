"""The emoji data set: draws a variant, renders it, captions it.

Joins art, looks and captions. What is held out is decided in `concepts.is_held_out` and honoured
here, so no stage can see a held-out combination.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.train.data.data_set import Variant
from models.train.data.emoji import looks
from models.train.data.emoji.art import STYLES, Art
from models.train.data.emoji.captions import Look, caption, plain_names, vocabulary
from models.train.data.emoji.concepts import is_held_out

_NUM_SEVERAL = 2000
_COLOUR, _BACKGROUND, _FINISH = 0.22, 0.2, 0.06  # how often a drawn variant has one


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the art is used.

    `part` "even" or "odd" leaves training half of it: a judge should not see what a ranker saw. Of
    what stage 2 is to see, plain pictures are those in `styles`, varied ones those in `varied`; ()
    is all. A concept that has none of `varied` is varied in the first of `stand_ins` that it has:
    else no scene would show it. Of scenes, without an end, it is to see what is in the first
    `num_scenes`, and a share `foreign` of their captions is in another language than English, where
    they can be said in one.
    With `more` the art sets that only rankers learn from are among it.
    """

    part: Literal["all", "even", "odd"] = "all"
    styles: tuple[str, ...] = ()
    varied: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    num_scenes: int = 100_000
    foreign: float = 0.1
    more: bool = False

    def split(self, art: Art) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The pictures that training may see, and those that it may not, of any part."""
        images = range(len(art.rgba))
        start, stride = {"all": (0, 1), "even": (0, 2), "odd": (1, 2)}[self.part]
        seen = (image for image in images[start::stride] if not art.is_held_out(image))
        return tuple(seen), tuple(filter(art.is_held_out, images))

    def pools(self, art: Art, images: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Those of `images` to vary, for each style in `varied`; stand-ins are in every pool."""
        styles = [style for style in STYLES if not self.varied or style in self.varied]
        pools = [tuple(i for i in images if art.style_of(i) == style) for style in styles]
        has_one = {art.concept[image] for image in chain(*pools)}
        found: dict[int, int] = {}
        for style in self.stand_ins:
            for image in images:
                if art.style_of(image) == style and art.concept[image] not in has_one:
                    found.setdefault(int(art.concept[image]), image)
        return tuple((*pool, *found.values()) for pool in pools)


class EmojiSet:
    """Draws, renders and captions variants of the art; see `DataSet`."""

    def __init__(self, art: Art, selection: Selection | None = None) -> None:
        self.art = art
        self.selection = selection or Selection()
        self.images, self.held_out = self.selection.split(art)
        self._varied = frozenset(chain(*self.selection.pools(art, self.images)))
        self._paintable = frozenset(i for i, c in enumerate(art.concepts) if plain_names(c))
        self._natural = tuple(looks.main_colour(rgba.astype(np.float32) / 255) for rgba in art.rgba)

    def judged(self, number: int) -> Mapping[str, tuple[Variant, ...]]:
        """Held-out pictures as they are drawn, of all styles."""
        return {"val": tuple(map(Variant, self.held_out[:number]))}

    @property
    def shares(self) -> Mapping[str, float]:
        """Plain pictures most, and colours more than their number of variants says."""
        return {"plain": 0.56, "colour": 0.2, "background": 0.14, "finish": 0.04, "several": 0.06}

    def is_allowed(self, variant: Variant) -> bool:
        """Whether training may see this variant."""
        label, look = self.art.concept_of(variant.image).label, Look(*variant.look)
        said = (("colour", look.colour), ("background", look.background), ("style", look.finish))
        return not any(word and is_held_out(label, kind, word) for kind, word in said)

    def kind(self, variant: Variant) -> str:
        """What of its look is varied."""
        said = [name for name, word in Look(*variant.look)._asdict().items() if word]
        if len(said) > 1:
            return "several"
        return said[0] if said else "plain"

    def variants(self) -> tuple[Variant, ...]:
        """Selected pictures, their allowed variations, and some with several at once."""
        single = [variant for image in self.images for variant in self.variants_of(image)]
        rng = Random(0)
        drawn = (self.draw(rng) for _ in range(40 * _NUM_SEVERAL))
        several = [v for v in dict.fromkeys(drawn) if self.kind(v) == "several"]
        return (
            *filter(self._is_selected, single),
            *[v for v in several if self._is_selected(v)][:_NUM_SEVERAL],
        )

    def _is_selected(self, variant: Variant) -> bool:
        if self.kind(variant) != "plain":
            return variant.image in self._varied
        styles = self.selection.styles
        return not styles or self.art.style_of(variant.image) in styles

    def variants_of(self, image: int) -> Iterator[Variant]:
        """Every allowed single variation of a picture, the plain one first."""
        made = [Look(finish=finish) for finish in looks.FINISHES]
        made += [Look(background=name) for name in looks.BACKGROUNDS]
        if int(self.art.concept[image]) in self._paintable:
            made += [Look(colour=colour) for colour in looks.COLOURS]
        yield Variant(image, Look())
        yield from filter(self.is_allowed, (Variant(image, look) for look in made))

    def draw(self, rng: Random) -> Variant:
        """A random allowed variant of a random training picture."""
        image = rng.choice(self.images)
        paintable = int(self.art.concept[image]) in self._paintable
        colour = rng.choice(list(looks.COLOURS)) if rng.random() < _COLOUR else None
        behind = rng.choice(looks.BACKGROUNDS) if rng.random() < _BACKGROUND else None
        finish = rng.choice(looks.FINISHES) if rng.random() < _FINISH else None
        look = Look(colour if paintable and not finish else None, behind, finish)
        variant = Variant(image, look)
        return variant if self.is_allowed(variant) else Variant(image, Look())

    def render(self, variant: Variant) -> Tensor:
        """A variant's pixels in [-1, 1], [3, size, size]."""
        rgba, look = self.art.rgba[variant.image].astype(np.float32) / 255, Look(*variant.look)
        if look.colour is not None:
            rgba = looks.recolour(rgba, look.colour)
        if look.finish is not None:
            rgba = looks.finish(rgba, look.finish)
        pixels = looks.compose(rgba, looks.background(look.background, rgba.shape[0]))
        return torch.from_numpy(pixels).permute(2, 0, 1) * 2 - 1

    def caption(self, variant: Variant, rng: Random) -> str:
        """A random true caption; says the art style at times, the natural colour at times."""
        concept, look = self.art.concept_of(variant.image), Look(*variant.look)
        is_plain = look.colour is None and look.finish is None
        style = self.art.style_of(variant.image) if is_plain and rng.random() < 0.25 else None
        if is_plain and style is None and rng.random() < 0.06:
            look = self._with_natural_colour(variant.image, look)
        return caption(concept, look, style, rng)

    def title(self, variant: Variant) -> str:
        """The concept, the art set, and how it is varied."""
        image = variant.image
        said = (self.art.concept_of(image).label, self.art.style_of(image), *variant.look)
        return " ".join(filter(None, said))

    def meaning(self, variant: Variant) -> tuple[object, ...]:
        """What a caption of this variant says, the style left aside."""
        return (self.art.concept_of(variant.image).label, *Look(*variant.look))

    def names(self) -> tuple[str, ...]:
        """Every concept's label."""
        return self.art.names()

    def name_of(self, image: int) -> int:
        """Which of `names` an image has."""
        return int(self.art.concept[image])

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the captions' templates."""
        return vocabulary()

    def _with_natural_colour(self, image: int, look: Look) -> Look:
        """A banana as drawn may be called a yellow banana, unless that pair is held out."""
        colour, concept = self._natural[image], self.art.concept_of(image)
        if not plain_names(concept) or is_held_out(concept.label, "colour", colour):
            return look
        return Look(colour=colour, background=look.background)
