"""What a scene is made of, as data: which art stands where, in which colour, before what.

Knows no pixels, no words, no rules of what may be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.train.data.data_set import Variant
from models.train.data.scenes.layouts import SINGLE, Box


@dataclass(frozen=True, slots=True)
class Part:
    """One thing of a scene: which art, where, and its colour (None: as drawn)."""

    image: int
    box: Box
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture to make. `layout` is a kind and the layout's own name: "pair/above"."""

    layout: str
    parts: tuple[Part, ...]
    background: str | None = None
    finish: str | None = None

    @property
    def kind(self) -> str:
        """single, placed, count, pair or trio."""
        return kind_of(self.layout)

    @property
    def place(self) -> str:
        """The layout's own name."""
        return self.layout.partition("/")[2]

    def as_variant(self) -> Variant:
        """The same in a data set's terms: a variant of its first thing's picture."""
        parts = (
            f"{part.image} {part.box.x} {part.box.y} {part.box.size} {part.colour or ''}".strip()
            for part in self.parts
        )
        look = (self.layout, self.background, self.finish, *parts)
        return Variant(self.parts[0].image, look)


def kind_of(layout: str) -> str:
    """Of the layout "pair/above" it is "pair"."""
    return layout.partition("/")[0]


def scene_of(variant: Variant) -> Scene:
    """The inverse of `as_variant`; a variant without a look is its picture alone."""
    if not variant.look:
        return Scene("single/", (Part(variant.image, SINGLE[""]),))
    layout, background, finish, *parts = variant.look
    return Scene(layout or "", tuple(map(_part, filter(None, parts))), background, finish)


def _part(text: str) -> Part:
    image, x, y, size, *colour = text.split()
    return Part(int(image), Box(int(x), int(y), int(size)), colour[0] if colour else None)
