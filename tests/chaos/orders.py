"""What callers ask for: usual orders, and now and then one that is cancelled, left or meant ill.

The same for the same seed. Knows no HTTP.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

NUM_RECIPES = 20
ROWS = 8  # of a worker
POISONS = ("poison", "deadly")
_SIZES = (1, 2, 4, 3 * ROWS)  # the last is larger than a worker, so it is drawn in parts


@dataclass(frozen=True)
class Mix:
    """How many of all orders are out of the ordinary, in shares of 1."""

    harmful: float = 0.02
    cancelled: float = 0.05
    left: float = 0.05  # their callers hang up before the answer
    told: float = 0.5  # have a webhook


@dataclass(frozen=True)
class Order:
    """What is asked for. Orders of one `recipe` give the same pictures."""

    number: int
    recipe: int
    prompt: str
    is_cancelled: bool = False
    is_left: bool = False
    is_told: bool = False

    @classmethod
    def of(cls, number: int, rng: random.Random, mix: Mix) -> Order:
        """One of the mixture."""
        recipe = rng.randrange(NUM_RECIPES)
        prompt = _prompt(recipe)
        if rng.random() < mix.harmful:
            prompt = rng.choice(POISONS)
        is_left, is_cancelled = rng.random() < mix.left, rng.random() < mix.cancelled
        is_told = rng.random() < mix.told
        return cls(number, recipe, prompt, is_cancelled, is_left, is_told and not is_left)

    @property
    def num_candidates(self) -> int:
        """Of the job."""
        return _SIZES[self.recipe % len(_SIZES)]

    @property
    def may_end(self) -> set[str]:
        """Statuses that are no fault."""
        end = "failed" if self.prompt in POISONS else "succeeded"
        return {end, "cancelled"} if self.is_cancelled else {end}

    def body(self, hook_url: str) -> dict[str, Any]:
        """Of the request."""
        size = self.num_candidates
        body = {
            "prompt": self.prompt,
            "seed": self.recipe,
            "num_candidates": size,
            "n": min(size, 2),
        }
        return body | ({"webhook": {"url": hook_url}} if self.is_told else {})


def one_of_each() -> Iterator[Order]:
    """Each recipe once, and nothing that is seldom."""
    return (Order(recipe, recipe, _prompt(recipe)) for recipe in range(NUM_RECIPES))


def orders(rng: random.Random, mix: Mix) -> Iterator[Order]:
    """Without an end."""
    return (Order.of(number, rng, mix) for number in count())


def _prompt(recipe: int) -> str:
    return f"thing {recipe}"
