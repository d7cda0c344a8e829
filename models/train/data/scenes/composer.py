"""Draws scenes at random and knows which may be drawn.

Held out are the emoji set's combinations (a concept with a style, a colour, a background), and
pairs of things and things with counts by the same hash. Single things are at least half of what is
drawn. Renders nothing and says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from random import Random

from models.train.data.emoji import looks
from models.train.data.emoji.art import Art
from models.train.data.emoji.captions import plain_names
from models.train.data.emoji.concepts import is_held_out
from models.train.data.scenes import layouts
from models.train.data.scenes.backdrops import BACKDROPS
from models.train.data.scenes.composition import Part, Scene
from models.train.data.scenes.things import Thing

SHARES = {"single": 0.52, "placed": 0.06, "count": 0.14, "pair": 0.22, "trio": 0.06}
COUNT_WORDS = {2: "two", 3: "three", 4: "four"}
_COLOUR, _BACKGROUND, _FINISH = 0.2, 0.35, 0.04
_ODD_SIZE = 0.3  # singles that are small or big, and pairs that are not laid out as usual
_PAIR_SHARES = {"beside": 0.45, "above": 0.2, "on": 0.15, "in front": 0.2}


class Composer:
    """Makes scenes of these pictures: singles of all, the other kinds of curated things only.

    All things of a scene are of one of `pools`, as a `Selection` makes them of a style each.
    """

    def __init__(
        self,
        art: Art,
        images: Sequence[int],
        things: Mapping[str, Thing],
        pools: Iterable[Sequence[int]],
    ) -> None:
        self.art = art
        self.images = images
        curated = [tuple(i for i in pool if art.concept_of(i).label in things) for pool in pools]
        self._pools = [pool for pool in curated if len(pool) > 3]

    def draw(self, rng: Random) -> Scene:
        """A random allowed scene."""
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        while not self.is_allowed(scene := self._make(kind, rng)):
            pass
        return scene

    def singles(self, image: int) -> Iterator[Scene]:
        """Every allowed way to show a picture alone, the plain one first, then with one change."""
        plain = Scene("single/", (Part(image, layouts.SINGLE[""]),))
        made = [plain, self._sized(image, "small"), self._sized(image, "big")]
        made += [replace(plain, finish=finish) for finish in looks.FINISHES]
        made += [replace(plain, background=name) for name in BACKDROPS]
        if self._is_paintable(image):
            part = plain.parts[0]
            made += [replace(plain, parts=(replace(part, colour=c),)) for c in looks.COLOURS]
        yield from filter(self.is_allowed, made)

    def is_allowed(self, scene: Scene) -> bool:
        """Whether training may see this scene."""
        labels = sorted({self.art.concept_of(part.image).label for part in scene.parts})
        said = [(label, "background", scene.background) for label in labels]
        said += [(label, "style", scene.finish) for label in labels]
        said += [(self.art.concept_of(p.image).label, "colour", p.colour) for p in scene.parts]
        said += [(first, "thing", second) for first, second in combinations(labels, 2)]
        if scene.kind == "count":
            said.append((labels[0], "count", COUNT_WORDS[len(scene.parts)]))
        return not any(word and is_held_out(label, kind, word) for label, kind, word in said)

    def _make(self, kind: str, rng: Random) -> Scene:
        make = {
            "single": self._single,
            "placed": self._placed,
            "count": self._count,
            "pair": self._pair,
            "trio": self._trio,
        }
        return make[kind](rng)

    def _is_paintable(self, image: int) -> bool:
        return bool(plain_names(self.art.concept_of(image)))

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
        """Different things of one pool in these boxes."""
        images = rng.sample(rng.choice(self._pools), len(boxes))
        parts = (
            Part(image, box, self._colour(image, rng))
            for image, box in zip(images, boxes, strict=True)
        )
        return Scene(layout, tuple(parts), self._backdrop(rng))
