from __future__ import annotations

import torch

from models.measure.tables.retrieval import retrieval
from tests.models.measure.brightness import scorer


def test_it_finds_the_bright_ones() -> None:
    pixels = torch.stack([torch.full((3, 8, 8), value) for value in (1.0, 0.9)])
    figures = retrieval(scorer(), [(pixels, [0, 0])], ["any"])
    assert figures == {"pictures": 2.0, "first of 1 names": 1.0, "in five": 1.0}
