"""How well a CLIP tells what pictures show: the true name's place among all names.

Knows no model that draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from models.rerank.clip import ClipScorer
from models.train.recipes.clip import hits


def retrieval(
    scorer: ClipScorer, batches: Iterable[Tensor], names: Sequence[str], truth: Sequence[int]
) -> tuple[float, float]:
    """Share of pictures [n, 3, H, W] whose true name is first, and among the first five."""
    texts = torch.stack([scorer.text_features(name) for name in names])
    found = torch.cat([scorer.image_features(pixels) for pixels in batches])
    return hits((found @ texts.T).cpu(), torch.tensor(truth))
