"""What a scene is made of, as data: which art stands where, in which colour, before what.

Knows no pixels, no words, no rules of what may be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.train.data.layouts import Box


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
        return self.layout.partition("/")[0]

    @property
    def place(self) -> str:
        """The layout's own name."""
        return self.layout.partition("/")[2]
