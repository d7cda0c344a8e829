"""What a training run asks of its pictures, whatever they show: `DataSet` and `Variant`.

A picture is an index; a variant is a picture shown in one of the ways that its set knows. Knows no
set: `sources` opens them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Variant:
    """A picture, and how it is shown in its set's own terms; without them, as it is."""

    image: int
    look: tuple[str | None, ...] = ()


class DataSet(Protocol):
    """Pictures with words. Whatever is random comes from the generator that is handed in."""

    @property
    def images(self) -> tuple[int, ...]:
        """The pictures that training may see."""

    @property
    def held_out(self) -> tuple[int, ...]:
        """Those that it may not."""

    def judged(self, number: int) -> Mapping[str, tuple[Variant, ...]]:
        """What a run is judged by, up to so many of each sort: variants of held-out pictures."""

    @property
    def shares(self) -> Mapping[str, float]:
        """How often stage 2 shall see each kind of variant."""

    def kind(self, variant: Variant) -> str:
        """Which of the kinds in `shares` it is."""

    def variants(self) -> tuple[Variant, ...]:
        """All that stage 2 is to see, which are encoded beforehand."""

    def draw(self, rng: Random) -> Variant:
        """A random variant of a picture that training may see."""

    def render(self, variant: Variant) -> Tensor:
        """Its pixels in [-1, 1], [3, size, size]."""

    def caption(self, variant: Variant, rng: Random) -> str:
        """A random true text for it, or an empty one."""

    def title(self, variant: Variant) -> str:
        """Which picture this is, for people who look for it."""

    def meaning(self, variant: Variant) -> tuple[object, ...]:
        """What its captions say; equal for variants that share them."""

    def names(self) -> tuple[str, ...]:
        """One short text for each thing that pictures show."""

    def name_of(self, image: int) -> int:
        """Which of `names` a picture has."""

    def vocabulary(self) -> tuple[str, ...]:
        """Words that a tokenizer should know, however seldom captions say them."""


@runtime_checkable
class Ordered(Protocol):
    """A data set that shows each of its pictures once an epoch."""

    broken: set[int]  # pictures that can't be read, as far as anybody has tried

    def fingerprint(self) -> str:
        """By which the same pictures are known again, held-out ones among them."""

    def ordered(self, positions: range, seed: int) -> list[Variant]:
        """What stands at these positions, counted on over all epochs."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A word of another language, or a name of several, and its English.

    `is_in_place` where it stands in a sentence where its English does.
    """

    word: str
    english: str
    is_in_place: bool = True


@runtime_checkable
class Bilingual(DataSet, Protocol):
    """A data set whose captions can be said in other languages than English."""

    def translated(self, variant: Variant, rng: Random) -> tuple[str, str] | None:
        """A random caption in another language, and in English what it says.

        None where no language has the words, or the one that was drawn hasn't.
        """

    def dictionary(self) -> tuple[Meaning, ...]:
        """What captions in other languages say, but for keywords: words and names of several."""

    def english(self) -> Iterator[str]:
        """Texts that together have each word that an English caption may say."""


def rendered(data: DataSet, variants: Iterable[Variant]) -> Tensor:
    """Pixels of variants in [-1, 1], [n, 3, size, size]."""
    return torch.stack([data.render(variant) for variant in variants])


def drawn(data: DataSet, rng: Random, number: int) -> list[Variant]:
    """So many random variants."""
    return [data.draw(rng) for _ in range(number)]


def batch_at(data: DataSet, step: int, size: int, rng: Random, seed: int) -> list[Variant]:
    """What a run of this seed learns from at a step, whose generator is `rng`."""
    if isinstance(data, Ordered):
        return data.ordered(range(step * size, (step + 1) * size), seed)
    return drawn(data, rng, size)
