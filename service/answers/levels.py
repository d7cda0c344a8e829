"""Lists with one number for each level of codes, made lists with one for each code of a position.

A model of two levels may draw one coarse code and four finer ones at a position: callers think of
two numbers, and rows are drawn by five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

from service.jobs import Recipe

_T = TypeVar("_T")


def spread(recipe: Recipe, levels: Sequence[int]) -> Recipe:
    """The recipe with its lists spread; `levels` says how many codes each level has.

    Lists of another length than `levels` stay as they are.
    """
    return replace(
        recipe,
        top_k=_spread(recipe.top_k, levels),
        top_p=_spread(recipe.top_p, levels),
        temperature=_spread(recipe.temperature, levels),
    )


def _spread(given: _T, levels: Sequence[int]) -> _T:
    """A number or None stays what it is, a tuple becomes a longer one."""
    if not isinstance(given, tuple) or len(given) != len(levels):
        return given
    pairs = zip(given, levels, strict=True)
    return cast(_T, tuple(value for value, count in pairs for _ in range(count)))
