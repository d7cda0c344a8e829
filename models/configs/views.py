"""A view: a way to look at a picture coarser than it is, which a model's shape offers.

Knows no torch and no model.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """What the first `depth` codes of each position make of a picture; the last view is all of it.

    Callers ask for it by a parameter and its value, such as depth=1.
    """

    parameter: str
    value: str
    depth: int
