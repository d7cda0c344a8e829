"""How well a CLIP tells what pictures show: the true name's place among all names.

Knows no model that draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from models.measure.tables.table import Cell
from models.rerank.clip import ClipScorer
from models.train.recipes.clip import hits


def retrieval(
    scorer: ClipScorer, batches: Iterable[tuple[Tensor, Sequence[int]]], names: Sequence[str]
) -> dict[str, Cell]:
    """Share of pictures [n, 3, H, W] whose true name [n] is first, and among the first five."""
    texts = torch.stack([scorer.text_features(name) for name in names])
    found, truth = list[Tensor](), list[int]()
    for pixels, own in batches:
        found.append(scorer.image_features(pixels))
        truth += own
    first, five = hits((torch.cat(found) @ texts.T).cpu(), torch.tensor(truth))
    return {"pictures": float(len(truth)), f"first of {len(names)} names": first, "in five": five}
