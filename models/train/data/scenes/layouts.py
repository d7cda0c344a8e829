"""Where the things of a scene stand: named layouts, in cells of the 16×16 grid of codes.

Everything stands on whole cells, so that a thing makes the same codes in every scene. Knows no
things and no words beyond the layouts' names.
"""

from __future__ import annotations

from dataclasses import dataclass

CELLS = 16  # a picture's side; at 128 pixels a cell has 8


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A square of cells: its left, its top, its side."""

    x: int
    y: int
    size: int


Boxes = tuple[Box, ...]

SINGLE = {"": Box(1, 1, 14), "small": Box(4, 4, 8), "big": Box(0, 0, 16)}
PLACES = {
    "left": Box(0, 4, 8),
    "right": Box(8, 4, 8),
    "top": Box(4, 0, 8),
    "bottom": Box(4, 8, 8),
    "top left": Box(0, 0, 8),
    "top right": Box(8, 0, 8),
    "bottom left": Box(0, 8, 8),
    "bottom right": Box(8, 8, 8),
}
_LEFT, _RIGHT, _TOP, _BOTTOM = (PLACES[name] for name in ("left", "right", "top", "bottom"))
_TRIANGLE = (_TOP, PLACES["bottom left"], PLACES["bottom right"])
_ROW = (Box(0, 5, 5), Box(5, 5, 5), Box(11, 5, 5))
COUNTS: dict[int, tuple[Boxes, ...]] = {
    2: ((_LEFT, _RIGHT),),
    3: (_TRIANGLE, _ROW),
    4: (tuple(PLACES[f"{row} {side}"] for row in ("top", "bottom") for side in ("left", "right")),),
}
# Of two or three things: the first one named has the first box, and is the nearest to the eye. A
# pair's usual boxes come before its others.
PAIRS: dict[str, tuple[Boxes, ...]] = {
    "beside": (
        (_LEFT, _RIGHT),
        (Box(0, 3, 10), Box(10, 7, 6)),
        (Box(0, 7, 6), Box(6, 3, 10)),
    ),
    "above": (
        (_TOP, _BOTTOM),
        (Box(3, 0, 10), Box(5, 10, 6)),
        (Box(5, 0, 6), Box(3, 6, 10)),
    ),
    "on": ((Box(4, 0, 8), Box(3, 6, 10)),),
    "in front": (
        (Box(0, 7, 9), Box(4, 0, 12)),
        (Box(7, 7, 9), Box(0, 0, 12)),
    ),
}
TRIOS: dict[str, Boxes] = {
    "row": _ROW,
    "one above two": _TRIANGLE,
    "one below two": (_BOTTOM, PLACES["top left"], PLACES["top right"]),
}
