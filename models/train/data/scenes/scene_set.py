"""The data set of scenes: one to four things from the emoji art, laid out on a background.

Joins the composer (which scenes), the art (their pixels) and the narrator (their words).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from itertools import chain, count, islice
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.train.data.data_set import Meaning, Variant
from models.train.data.emoji import looks
from models.train.data.emoji.art import MODULES, Art, Pixels, fetch, load_art
from models.train.data.emoji.emoji_set import Selection
from models.train.data.scenes import layouts
from models.train.data.scenes.backdrops import backdrop
from models.train.data.scenes.composer import Composer
from models.train.data.scenes.composition import kind_of, scene_of
from models.train.data.scenes.languages import CLDR, Lexicon, load_lexicons
from models.train.data.scenes.narrator import Narrator
from models.train.data.scenes.things import load_things

_PARTS_KEPT = 4096  # resized pictures in memory, 25 to 64 KiB each
_NUM_ENGLISH = 20_000


class SceneSet:
    """Draws, renders and captions scenes; see `DataSet`.

    A variant is a scene, filed under its first thing's picture.
    """

    def __init__(
        self,
        art: Art,
        lexicons: Mapping[str, Lexicon],
        selection: Selection | None = None,
    ) -> None:
        self.art = art
        self.size = int(art.rgba.shape[1])
        self.selection = selection or Selection()
        seen, self.held_out = self.selection.split(art)
        self.images = tuple(filter(self._is_selected, seen))
        things = load_things()
        pools = self.selection.pools(art, self.images)
        self._varied = frozenset(chain(*pools))
        self.composer = Composer(art, self.images, things, pools)
        self._judges = tuple(filter(self._is_selected, self.held_out))
        self._judging = Composer(art, self._judges, things, Selection().pools(art, self._judges))
        self.narrator = Narrator(art, things, lexicons, self.selection.foreign)
        self._part = lru_cache(maxsize=_PARTS_KEPT)(self._make_part)

    def judged(self, number: int) -> Mapping[str, tuple[Variant, ...]]:
        """Art that training never shows, alone ("single") and in scenes of its own ("scene")."""
        alone = Random("judged").sample(self._judges, min(number, len(self._judges)))
        rngs = (_rng_of(1, index) for index in count())
        drawn = (self._judging.draw(rng).as_variant() for rng in rngs)
        several = (scene for scene in drawn if self.kind(scene) not in {"plain", "varied"})
        return {"single": tuple(map(Variant, alone)), "scene": tuple(islice(several, number))}

    @property
    def shares(self) -> Mapping[str, float]:
        """Single things at least half, most of them as drawn."""
        several = {"placed": 0.06, "count": 0.14, "pair": 0.22, "trio": 0.06}
        return {"plain": 0.3, "varied": 0.22, **several}

    def kind(self, variant: Variant) -> str:
        """The layout's kind; a single thing is plain, or varied in its look or size."""
        layout = variant.look[0] if variant.look else None
        if layout and (kind := kind_of(layout)) != "single":
            return kind
        return "plain" if scene_of(variant) == scene_of(Variant(variant.image)) else "varied"

    def variants(self) -> tuple[Variant, ...]:
        """Every single thing with one change at most, and what is drawn of every kind."""
        singles = (scene for image in self.images for scene in self.composer.singles(image))
        alone = (scene.as_variant() for scene in singles)
        drawn = map(partial(self.scene, 0), range(self.selection.num_scenes))
        return tuple(dict.fromkeys(filter(self._is_wanted, chain(alone, drawn))))

    def scene(self, seed: int, index: int) -> Variant:
        """One of an endless list, the same in every process."""
        return self.draw(_rng_of(seed, index))

    def draw(self, rng: Random) -> Variant:
        """A random allowed scene."""
        return self.composer.draw(rng).as_variant()

    def render(self, variant: Variant) -> Tensor:
        """A scene's pixels in [-1, 1], [3, size, size]."""
        scene, unit = scene_of(variant), self.size // layouts.CELLS
        canvas = backdrop(scene.background, self.size).copy()
        for part in reversed(scene.parts):
            side, y, x = part.box.size * unit, part.box.y * unit, part.box.x * unit
            rgba = self._part(part.image, side, part.colour, scene.finish)
            place = canvas[y : y + side, x : x + side]
            place[:] = looks.compose(rgba.astype(np.float32) / np.float32(255), place)
        return torch.from_numpy(canvas).permute(2, 0, 1) * 2 - 1

    def caption(self, variant: Variant, rng: Random) -> str:
        """A random true caption, lower case; at times in another language than English."""
        return self.narrator.caption(scene_of(variant), rng)

    def translated(self, variant: Variant, rng: Random) -> tuple[str, str] | None:
        """See `Bilingual`; for what `languages` can say."""
        return self.narrator.translated(scene_of(variant), rng)

    def dictionary(self) -> tuple[Meaning, ...]:
        """See `Bilingual`: names, colours, articles."""
        return self.narrator.dictionary()

    def english(self) -> Iterator[str]:
        """See `Bilingual`: all names and words, and scenes enough for every form of sentence."""
        yield from self.narrator.english_words()
        for index in range(_NUM_ENGLISH):
            rng = _rng_of(2, index)
            yield self.narrator.english(self.composer.draw(rng), rng)

    def title(self, variant: Variant) -> str:
        """The first thing, its art set, and the whole scene's look."""
        image = variant.image
        said = (self.art.concept_of(image).label, self.art.style_of(image), *variant.look)
        return " ".join(filter(None, said))

    def meaning(self, variant: Variant) -> tuple[object, ...]:
        """What a caption of this scene says, the style left aside."""
        scene = scene_of(variant)
        things = tuple((self.art.concept_of(part.image).label, part.colour) for part in scene.parts)
        return scene.layout, things, scene.background, scene.finish

    def names(self) -> tuple[str, ...]:
        """Every concept's label."""
        return self.art.names()

    def name_of(self, image: int) -> int:
        """Which of `names` an image has."""
        return int(self.art.concept[image])

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the templates and every name in every language."""
        return self.narrator.vocabulary()

    def _is_selected(self, image: int) -> bool:
        return not self.selection.styles or self.art.style_of(image) in self.selection.styles

    def _is_wanted(self, variant: Variant) -> bool:
        """Whether it is plain, or its picture one of those that are more than plain."""
        return variant.image in self._varied or self.kind(variant) == "plain"

    def _make_part(self, image: int, side: int, colour: str | None, finish: str | None) -> Pixels:
        """One thing at its size [side, side, 4], painted; resized premultiplied for clean edges."""
        art = Image.fromarray(self.art.rgba[image]).convert("RGBa")
        rgba = np.asarray(art.resize((side, side), Image.Resampling.HAMMING).convert("RGBA"))
        if colour is None and finish is None:
            return rgba
        made: looks.Floats = rgba.astype(np.float32) / np.float32(255)
        made = looks.recolour(made, colour) if colour else made
        made = looks.finish(made, finish) if finish else made
        return np.asarray((made * 255).round(), np.uint8)


def _rng_of(seed: int, index: int) -> Random:
    return Random(f"scene/{seed}/{index}")


def open_scenes(cache: Path, size: int, selection: Selection) -> SceneSet:
    """The scene set from art and words that are fetched into `cache` once."""
    art = load_art(cache, size, more=selection.more)
    fetch(cache, (CLDR,))
    lexicons = load_lexicons(cache / MODULES, art.concepts, load_things())
    return SceneSet(art, lexicons, selection)
