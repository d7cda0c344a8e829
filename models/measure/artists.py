"""Who draws the pictures of an evaluation: a model in this process, or what another file brings.

Pictures lie in a folder for each model, setting and seed, and are drawn once. Knows no figures.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from models.configs.prior import Prompt
from models.drawing.streams import MAX_SEED
from models.measure.captions import prompts_for
from models.measure.drawer import Setting, draw
from models.measure.drawings import Ask, Drawings, asks_for
from models.measure.entrants import Entrant
from models.pipeline import LoadOptions, Pipeline

_EVERY = 200  # prompts between two lines on stderr


class Artist(Protocol):
    """One model, wherever it is."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...  # of its weights
    @property
    def max_seed(self) -> int: ...

    def prompts(self, given: Sequence[str]) -> list[Prompt]:
        """As it takes them. ConfigError where it doesn't."""

    def fitting(self, setting: Setting) -> Setting:
        """What of it can be had."""

    def draw(self, drawings: Drawings, asks: Sequence[Ask], setting: Setting) -> None:
        """Draw what is missing; what can't be drawn stays missing."""


@dataclass(slots=True)
class OwnArtist:
    """A model that is loaded here when there is something to draw."""

    entrant: Entrant
    options: LoadOptions
    num_rows: int
    _pipeline: Pipeline | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return self.entrant.name

    @property
    def digest(self) -> str:
        return self.entrant.digest

    @property
    def max_seed(self) -> int:
        return MAX_SEED

    def prompts(self, given: Sequence[str]) -> list[Prompt]:
        """See `Artist`."""
        preset = self.entrant.preset
        return prompts_for(preset.prompt_kind, preset.num_classes, given)

    def fitting(self, setting: Setting) -> Setting:
        """See `Artist`: all of it."""
        return setting

    def draw(self, drawings: Drawings, asks: Sequence[Ask], setting: Setting) -> None:
        """See `Artist`."""
        if not (missing := drawings.missing(asks)):
            return
        if self._pipeline is None:
            self._pipeline = self.entrant.load(self.options)
        done = draw(self._pipeline, drawings, missing, setting, self.num_rows)
        for number, _ in enumerate(done, start=1):
            if number % _EVERY == 0 or number == len(missing):
                sys.stderr.write(f"{self.name}: {number} of {len(missing)} prompts drawn\n")


@dataclass(frozen=True, slots=True)
class Series:
    """All pictures of one model, setting and seed."""

    asks: Sequence[Ask]
    drawings: Drawings


def series(
    artist: Artist, given: Sequence[str], setting: Setting, seed: int, folder: Path
) -> Series:
    """Draw them below the folder, unless they are there."""
    safe = artist.name.replace("/", "-")
    own = folder / f"{safe}-{artist.digest[:8]}" / f"{setting.name}-seed{seed}"
    made = Series(asks_for(artist.prompts(given), seed), Drawings(own))
    artist.draw(made.drawings, made.asks, setting)
    made.drawings.refresh()
    if missing := made.drawings.missing(made.asks):
        sys.stderr.write(
            f"{artist.name}: {len(missing)} of {len(made.asks)} prompts have no picture;"
            " the same command tries them again\n"
        )
    return made
