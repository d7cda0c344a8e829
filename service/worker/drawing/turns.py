"""Whose turn it is: each model that has something to step gets the same part of the time.

Stride scheduling on measured seconds: the next turn is for who has had the least time, so a model
of long steps gets fewer of them. Pure bookkeeping: knows no model, and the time is passed in.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T", bound=Hashable)


class Turns(Generic[_T]):
    """Of all that ask for them. Who asked for nothing a while has saved nothing up."""

    def __init__(self) -> None:
        self._had_s: dict[_T, float] = {}  # since it asked first, and what others had before
        self._asking: set[_T] = set()
        self._now_s = 0.0  # what the least served one had at the last turn

    def next(self, asking: Sequence[_T]) -> _T:
        """Whose turn it is among those who ask now, at least one; of equals the first."""
        for each in asking:
            if each not in self._asking:
                self._had_s[each] = max(self._had_s.get(each, 0.0), self._now_s)
        self._asking = set(asking)
        chosen = min(asking, key=self._had_s.__getitem__)
        self._now_s = self._had_s[chosen]
        return chosen

    def charge(self, who: _T, seconds: float) -> None:
        """It has had so much time."""
        self._had_s[who] += seconds

    def forget(self, who: _T) -> None:
        """It asks no more."""
        self._had_s.pop(who, None)
        self._asking.discard(who)
