"""Scenes: one to four things from the emoji art, laid out on a background, as a data set.

A scene is a pure function of a `Random`. Held-out combinations are never drawn: those of the emoji
set (concept with style, colour, background) and pairs of things, and things with counts. Single
things are at least half of what is drawn. The words for a scene are the narrator's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.train.data import layouts, looks
from models.train.data.art import MODULES, STYLES, Art, Pixels, fetch, load_art
from models.train.data.backdrops import BACKDROPS, backdrop
from models.train.data.captions import plain_names
from models.train.data.composition import Part, Scene
from models.train.data.concepts import Concept, is_held_out
from models.train.data.emoji import KEPT_STYLES
from models.train.data.languages import CLDR, Lexicon, load_lexicons
from models.train.data.narrator import Narrator
from models.train.data.things import load_things

SHARES = {"single": 0.52, "placed": 0.06, "count": 0.14, "pair": 0.22, "trio": 0.06}
COUNT_WORDS = {2: "two", 3: "three", 4: "four"}
_COLOUR, _BACKGROUND, _FINISH = 0.2, 0.35, 0.04
_ODD_SIZE = 0.3  # singles that are small or big, and pairs of which one is
_PAIR_SHARES = {"beside": 0.45, "above": 0.2, "on": 0.15, "in front": 0.2}
_PARTS_KEPT = 4096  # resized pictures in memory, 25 to 64 KiB each


class SceneSet:
    """Draws and renders scenes from art of some styles; `images` are those that it draws from.

    Singles show all concepts, the other kinds only curated things. One style a scene. With
    `is_held_out` it draws from the art that training never sees, to judge by.
    """

    def __init__(
        self,
        art: Art,
        lexicons: Mapping[str, Lexicon],
        styles: Sequence[str] = STYLES,
        *,
        is_held_out: bool = False,
    ) -> None:
        self.art = art
        self.size = int(art.rgba.shape[1])
        self.things = load_things()
        self.narrator = Narrator(art, self.things, lexicons)
        wanted = [i for i in range(len(art.rgba)) if self.style(i) in styles]
        seen = tuple(i for i in wanted if not self.is_style_held_out(i))
        self.held_out = tuple(i for i in wanted if self.is_style_held_out(i))
        self.images = self.held_out if is_held_out else seen
        self._pools = self._pools_of(self.images, styles)
        self._paintable = frozenset(i for i, c in enumerate(art.concepts) if plain_names(c))
        self._part = lru_cache(maxsize=_PARTS_KEPT)(self._make_part)

    def concept(self, image: int) -> Concept:
        """Whose picture this is."""
        return self.art.concepts[int(self.art.concept[image])]

    def style(self, image: int) -> str:
        """Which art set it comes from."""
        return STYLES[int(self.art.style[image])]

    def is_style_held_out(self, image: int) -> bool:
        """Whether this (concept, style) is kept from training altogether."""
        style = self.style(image)
        return style not in KEPT_STYLES and is_held_out(self.concept(image).label, "style", style)

    def is_allowed(self, scene: Scene) -> bool:
        """Whether training may see this scene."""
        labels = sorted({self.concept(part.image).label for part in scene.parts})
        said = [(label, "background", scene.background) for label in labels]
        said += [(label, "style", scene.finish) for label in labels]
        said += [(self.concept(p.image).label, "colour", p.colour) for p in scene.parts]
        said += [(first, "thing", second) for first, second in combinations(labels, 2)]
        if scene.kind == "count":
            said.append((labels[0], "count", COUNT_WORDS[len(scene.parts)]))
        return not any(word and is_held_out(label, kind, word) for label, kind, word in said)

    def scene(self, seed: int, index: int) -> Scene:
        """One of an endless list of scenes, the same in every process."""
        return self.draw(Random(f"scene/{seed}/{index}"))

    def draw(self, rng: Random) -> Scene:
        """A random allowed scene."""
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        make = getattr(self, f"_{kind}")
        while not self.is_allowed(scene := make(rng)):
            pass
        found: Scene = scene
        return found

    def variants(self, image: int) -> Iterator[Scene]:
        """Every allowed way to show a picture alone, the plain one first, then with one change."""
        plain = Scene("single/", (Part(image, layouts.SINGLE[""]),))
        made = [plain]
        made += [self._sized(image, size) for size in ("small", "big")]
        made += [replace(plain, finish=finish) for finish in looks.FINISHES]
        made += [replace(plain, background=name) for name in BACKDROPS]
        if self._is_paintable(image):
            part = plain.parts[0]
            made += [replace(plain, parts=(replace(part, colour=c),)) for c in looks.COLOURS]
        yield from filter(self.is_allowed, made)

    def render(self, scene: Scene) -> Tensor:
        """A scene's pixels in [-1, 1], [3, size, size]."""
        unit = self.size // layouts.CELLS
        canvas = backdrop(scene.background, self.size).copy()
        for part in reversed(scene.parts):
            box = part.box
            rgba = self._part(part.image, box.size * unit, part.colour, scene.finish)
            y, x = box.y * unit, box.x * unit
            place = canvas[y : y + box.size * unit, x : x + box.size * unit]
            place[:] = looks.compose(rgba.astype(np.float32) / np.float32(255), place)
        return torch.from_numpy(canvas).permute(2, 0, 1) * 2 - 1

    def caption(self, scene: Scene, rng: Random) -> str:
        """A random true caption, lower case; at times in another language than English."""
        return self.narrator.caption(scene, rng)

    def meaning(self, scene: Scene) -> tuple[object, ...]:
        """What a caption of this scene says, the style left aside."""
        things = tuple((self.concept(p.image).label, p.colour) for p in scene.parts)
        return scene.layout, things, scene.background, scene.finish

    def names(self) -> tuple[str, ...]:
        """Every concept's label."""
        return tuple(concept.names[0] for concept in self.art.concepts)

    def name_of(self, image: int) -> int:
        """Which of `names` an image has."""
        return int(self.art.concept[image])

    def _pools_of(self, images: tuple[int, ...], styles: Sequence[str]) -> list[tuple[int, ...]]:
        """Pictures of things, style by style, where there are enough for three in a scene."""
        things = [i for i in images if self.concept(i).label in self.things]
        pools = [tuple(i for i in things if self.style(i) == style) for style in styles]
        return [pool for pool in pools if len(pool) > 3]

    def _is_paintable(self, image: int) -> bool:
        return int(self.art.concept[image]) in self._paintable

    def _colour(self, image: int, rng: Random) -> str | None:
        is_wanted = rng.random() < _COLOUR and self._is_paintable(image)
        return rng.choice(list(looks.COLOURS)) if is_wanted else None

    def _backdrop(self, rng: Random) -> str | None:
        return rng.choice(BACKDROPS) if rng.random() < _BACKGROUND else None

    def _sized(self, image: int, size: str, colour: str | None = None) -> Scene:
        return Scene(f"single/{size}", (Part(image, layouts.SINGLE[size], colour),))

    def _single(self, rng: Random) -> Scene:
        image = rng.choice(self.images)
        size = rng.choice(("small", "big")) if rng.random() < _ODD_SIZE else ""
        if rng.random() < _FINISH:
            return replace(self._sized(image, size), finish=rng.choice(looks.FINISHES))
        scene = self._sized(image, size, self._colour(image, rng))
        return replace(scene, background=self._backdrop(rng))

    def _placed(self, rng: Random) -> Scene:
        place = rng.choice(list(layouts.PLACES))
        return self._laid_out(f"placed/{place}", (layouts.PLACES[place],), rng)

    def _count(self, rng: Random) -> Scene:
        number = rng.choices((2, 3, 4), (0.45, 0.3, 0.25))[0]
        boxes = rng.choice(layouts.COUNTS[number])
        one = self._laid_out(f"count/{number}", boxes[:1], rng)
        return replace(one, parts=tuple(replace(one.parts[0], box=box) for box in boxes))

    def _pair(self, rng: Random) -> Scene:
        names, shares = zip(*_PAIR_SHARES.items(), strict=True)
        name = rng.choices(names, shares)[0]
        usual, *others = layouts.PAIRS[name]
        boxes = rng.choice(others) if others and rng.random() < _ODD_SIZE else usual
        return self._laid_out(f"pair/{name}", boxes, rng)

    def _trio(self, rng: Random) -> Scene:
        name = rng.choice(list(layouts.TRIOS))
        return self._laid_out(f"trio/{name}", layouts.TRIOS[name], rng)

    def _laid_out(self, layout: str, boxes: layouts.Boxes, rng: Random) -> Scene:
        """Different things of one style in these boxes."""
        images = rng.sample(rng.choice(self._pools), len(boxes))
        parts = (
            Part(image, box, self._colour(image, rng))
            for image, box in zip(images, boxes, strict=True)
        )
        return Scene(layout, tuple(parts), self._backdrop(rng))

    def _make_part(self, image: int, size: int, colour: str | None, finish: str | None) -> Pixels:
        """One thing at its size [size, size, 4], painted; resized premultiplied for clean edges."""
        art = Image.fromarray(self.art.rgba[image]).convert("RGBa")
        small = art.resize((size, size), Image.Resampling.HAMMING).convert("RGBA")
        rgba = np.asarray(small)
        if colour is None and finish is None:
            return rgba
        made: looks.Floats = rgba.astype(np.float32) / np.float32(255)
        made = looks.recolour(made, colour) if colour else made
        made = looks.finish(made, finish) if finish else made
        return np.asarray((made * 255).round(), np.uint8)


def open_scenes(
    cache: Path, size: int, styles: Sequence[str] = STYLES, *, is_held_out: bool = False
) -> SceneSet:
    """The scene set from art and words that are fetched into `cache` once."""
    art = load_art(cache, size)
    fetch(cache, (CLDR,))
    lexicons = load_lexicons(cache / MODULES, art.concepts, load_things())
    return SceneSet(art, lexicons, styles, is_held_out=is_held_out)
