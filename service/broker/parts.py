"""What a worker that drew a part of a job tells the queue of it, and what the queue answers.

How parts come to be and change hands is in lua/parts.lua. Knows no connection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from service.jobs import Image


class Committed(IntEnum):
    """What became of an outcome that was told; false when the claim was stale.

    PART: the job goes on with its other parts, or has ended already without this one.
    LATE, CANCELLED: the job had ended at its deadline, or by its caller's wish. Whoever ends a job
    counts it.
    """

    STALE = 0
    ENDED = 1
    PART = 2
    LATE = 3
    CANCELLED = 4


def range_of(values: dict[str, int] | None) -> range | None:
    """The candidates of a claim, as the script tells them; None of a whole job."""
    return None if values is None else range(values["first"], values["first"] + values["count"])


def part_arguments(images: Sequence[Image], n: int, timings_s: dict[str, float]) -> dict[str, Any]:
    """What the script needs to rank the images of a part, in rank order, among those of all.

    A score is JSON's text, which the script passes on: its own numbers would cut digits off.
    """
    pictures = [[image.candidate, json.dumps(image.score), len(image.data)] for image in images]
    return {"pictures": pictures, "n": n, "timings": timings_s}
