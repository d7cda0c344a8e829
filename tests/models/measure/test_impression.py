from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.measure.drawings import Drawings, asks_for
from models.measure.impression import crowd_of, impression, num_accepted
from models.measure.networks import ClipNetwork
from tests.models.measure.brightness import scorer


def test_each_number_is_of_the_best_by_the_models_own_ranker(tmp_path: Path) -> None:
    """Three prompts of four greys; the ranker likes dark ones, the judge bright ones."""
    greys = torch.tensor([0.2, 0.4, 0.6, 0.8])
    pixels = greys[:, None, None, None].expand(4, 3, 8, 8)
    asks, drawings = asks_for(["a", "b", "c"], 0), Drawings(tmp_path)
    for ask in asks:
        drawings.add(ask, pixels, [(n, 1 - float(g)) for n, g in enumerate(greys)])
    network = ClipNetwork(scorer(), "brightness", ["x", "y"])
    made = impression(drawings.of(asks), 3, network, scorer(), (4, 2, 1))
    real = crowd_of(network, [pixels, pixels], 8)
    figures = {number: made.figures(number, real) for number in (4, 2, 1)}
    assert [f["pictures"] for f in figures.values()] == [12, 6, 3]
    assert [f["ranker's score"] for f in figures.values()] == pytest.approx([0.5, 0.7, 0.8])
    judged = [f["judge's score"] or 0.0 for f in figures.values()]
    assert judged == sorted(judged, reverse=True)
    distances = [f["Fréchet distance"] or 0.0 for f in figures.values()]
    assert distances == sorted(distances)
    assert figures[4]["precision"] == figures[4]["recall"] == 1.0
    assert figures[1]["precision"] is None  # three pictures have no third neighbour
    assert figures[1]["Inception score"] == pytest.approx(1.0)


def test_a_share_accepts_one_at_least() -> None:
    assert [num_accepted(share, 16) for share in (1.0, 0.5, 0.05, 0.001)] == [16, 8, 1, 1]
