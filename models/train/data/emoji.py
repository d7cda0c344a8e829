"""The emoji data set as stages see it: draw a variant, render it, caption it.

Joins art, looks and captions. What is held out is decided in `concepts.is_held_out` and honoured
here, so no stage can see a held-out combination.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.train.data import looks
from models.train.data.art import STYLES, Art, load_art
from models.train.data.captions import Variant, caption, plain_names
from models.train.data.concepts import Concept, is_held_out
from models.train.data.folder import FolderSet

# These two are drawn for every concept, so that none is left without a picture.
KEPT_STYLES = ("noto", "fluent")


@dataclass(frozen=True, slots=True)
class Mix:
    """How often a drawn variant has a colour, a background or a finish."""

    colour: float = 0.22
    background: float = 0.2
    finish: float = 0.06


class DataSet(Protocol):
    """What a stage asks of its pictures. An image is an index; a variant says how it is shown."""

    @property
    def images(self) -> tuple[int, ...]: ...

    @property
    def held_out(self) -> tuple[int, ...]: ...

    def variants(self, image: int) -> Iterator[Variant]: ...

    def draw(self, rng: Random) -> Variant: ...

    def render(self, variant: Variant) -> Tensor: ...

    def caption(self, variant: Variant, rng: Random) -> str: ...

    def meaning(self, variant: Variant) -> tuple[object, ...]: ...

    def names(self) -> tuple[str, ...]: ...

    def name_of(self, image: int) -> int: ...


class EmojiSet:
    """Draws, renders and captions variants; `images` are the art indices that training may see.

    `part` "even" or "odd" leaves training half of them: a judge should not see what a ranker saw.
    """

    def __init__(self, art: Art, mix: Mix | None = None, part: str = "all") -> None:
        self.art = art
        self.mix = mix or Mix()
        start, stride = {"all": (0, 1), "even": (0, 2), "odd": (1, 2)}[part]
        indices = range(start, len(art.rgba), stride)
        self.images = tuple(i for i in indices if not self.is_style_held_out(i))
        self.held_out = tuple(i for i in range(len(art.rgba)) if self.is_style_held_out(i))
        self._paintable = frozenset(i for i, c in enumerate(art.concepts) if plain_names(c))
        self._natural = tuple(looks.main_colour(rgba.astype(np.float32) / 255) for rgba in art.rgba)

    def concept(self, image: int) -> Concept:
        """Whose picture this is."""
        return self.art.concepts[int(self.art.concept[image])]

    def style(self, image: int) -> str:
        """Which art set it comes from."""
        return STYLES[int(self.art.style[image])]

    def is_style_held_out(self, image: int) -> bool:
        """Whether this (concept, style) is kept from training altogether."""
        style = self.style(image)
        label = self.concept(image).label
        return style not in KEPT_STYLES and is_held_out(label, "style", style)

    def is_allowed(self, variant: Variant) -> bool:
        """Whether training may see this variant."""
        label = self.concept(variant.image).label
        said = (
            ("colour", variant.colour),
            ("background", variant.background),
            ("style", variant.finish),
        )
        return not any(word and is_held_out(label, kind, word) for kind, word in said)

    def variants(self, image: int) -> Iterator[Variant]:
        """Every allowed single variation of a picture, the plain one first."""
        yield Variant(image)
        made = [Variant(image, finish=finish) for finish in looks.FINISHES]
        made += [Variant(image, background=name) for name in looks.BACKGROUNDS]
        if int(self.art.concept[image]) in self._paintable:
            made += [Variant(image, colour=colour) for colour in looks.COLOURS]
        yield from filter(self.is_allowed, made)

    def draw(self, rng: Random) -> Variant:
        """A random allowed variant of a random training picture."""
        image = rng.choice(self.images)
        paintable = int(self.art.concept[image]) in self._paintable
        colour = rng.choice(list(looks.COLOURS)) if rng.random() < self.mix.colour else None
        behind = rng.choice(looks.BACKGROUNDS) if rng.random() < self.mix.background else None
        finish = rng.choice(looks.FINISHES) if rng.random() < self.mix.finish else None
        variant = Variant(image, colour if paintable and not finish else None, behind, finish)
        return variant if self.is_allowed(variant) else Variant(image)

    def render(self, variant: Variant) -> Tensor:
        """A variant's pixels in [-1, 1], [3, size, size]."""
        rgba = self.art.rgba[variant.image].astype(np.float32) / 255
        if variant.colour is not None:
            rgba = looks.recolour(rgba, variant.colour)
        if variant.finish is not None:
            rgba = looks.finish(rgba, variant.finish)
        pixels = looks.compose(rgba, looks.background(variant.background, rgba.shape[0]))
        return torch.from_numpy(pixels).permute(2, 0, 1) * 2 - 1

    def caption(self, variant: Variant, rng: Random) -> str:
        """A random true caption; says the art style at times, the natural colour at times."""
        concept = self.concept(variant.image)
        is_plain = variant.colour is None and variant.finish is None
        style = self.style(variant.image) if is_plain and rng.random() < 0.25 else None
        if is_plain and style is None and rng.random() < 0.06:
            variant = self._with_natural_colour(variant, concept)
        return caption(concept, variant, style, rng)

    def meaning(self, variant: Variant) -> tuple[object, ...]:
        """What a caption of this variant says, the style left aside."""
        return (
            self.concept(variant.image).label,
            variant.colour,
            variant.background,
            variant.finish,
        )

    def names(self) -> tuple[str, ...]:
        """Every concept's label."""
        return tuple(concept.names[0] for concept in self.art.concepts)

    def name_of(self, image: int) -> int:
        """Which of `names` an image has."""
        return int(self.art.concept[image])

    def _with_natural_colour(self, variant: Variant, concept: Concept) -> Variant:
        """A banana as drawn may be called a yellow banana, unless that pair is held out."""
        colour = self._natural[variant.image]
        if not plain_names(concept) or is_held_out(concept.label, "colour", colour):
            return variant
        return Variant(variant.image, colour=colour, background=variant.background)


def open_data(folder: Path | None, art: Path, size: int = 64, part: str = "all") -> DataSet:
    """One's own pictures in `folder`, or without one the emoji set, its art cached in `art`."""
    return FolderSet(folder, size) if folder else EmojiSet(load_art(art, size), part=part)
