"""Precision and recall of made pictures (Kynkäänniemi et al. 2019).

A set's manifold is the union of balls around its features, each as far as its third neighbour.
Precision is the share of made pictures inside the real ones' manifold, recall the reverse. Not all
distances exist at a time, so that memory grows with the pictures, not with their square.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOUR = 3
_ROWS = 1000  # of a matrix of distances that exist at a time


def precision_recall(made: Tensor, real: Tensor) -> tuple[float, float]:
    """Of features [n, E] and [m, E], more than `NEIGHBOUR` each."""
    return _share_inside(made, real), _share_inside(real, made)


def _share_inside(features: Tensor, manifold: Tensor) -> float:
    radii = torch.cat(
        [
            torch.cdist(part, manifold).kthvalue(NEIGHBOUR + 1).values  # the first is itself
            for part in torch.split(manifold, _ROWS)
        ]
    )
    inside = [
        (torch.cdist(part, manifold) <= radii).any(1).float()
        for part in torch.split(features, _ROWS)
    ]
    return float(torch.cat(inside).mean())
