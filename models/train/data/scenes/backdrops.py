"""What stands behind a scene: the emoji set's backgrounds, and day and snowfall beside them.

Knows nothing of things or words.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from models.train.data.emoji import looks
from models.train.data.emoji.looks import Floats

BACKDROPS = (*looks.BACKGROUNDS, "day", "snowfall")
_DAY = ((95, 175, 245), (185, 225, 255), (165, 210, 125), (115, 180, 85))
_SNOWFALL = ((110, 125, 155), (160, 175, 200), (232, 238, 246), (215, 225, 240))


@lru_cache(maxsize=64)
def backdrop(name: str | None, size: int) -> Floats:
    """Pixels in [0, 1] [size, size, 3], shared: not to be written to. White without a name."""
    if name == "day":
        made = looks.stripes(_DAY, size)
    elif name == "snowfall":
        made = _with_flakes(looks.stripes(_SNOWFALL, size))
    else:
        made = looks.background(name, size)
    made.setflags(write=False)
    return made


def _with_flakes(image: Floats) -> Floats:
    """White dots of an eighth of a cell's area or more, the same in every picture."""
    size = len(image)
    dot = max(2, size // 42)
    for y, x in np.random.default_rng(11).integers(0, size - dot, (26, 2)):
        image[y : y + dot, x : x + dot] = 1.0
    return image
