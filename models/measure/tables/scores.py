"""Best of n: what ranking candidates gains, by the ranker itself and by a judge that is not it.

Knows scores, no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BEST_OF = (1, 4, 16, 32, 64)


def best_of(ranked: Sequence[Tensor], judged: Sequence[Tensor], n: int) -> float:
    """Mean score by `judged` of the candidate that the ranker prefers among the first n."""
    picks = [scores[:n].argmax() for scores in ranked]
    return float(torch.stack([s[pick] for s, pick in zip(judged, picks, strict=True)]).mean())


def best_of_figures(ranked: Sequence[Tensor], judged: Sequence[Tensor]) -> dict[str, float | None]:
    """`judged` for each number of candidates that every prompt has; empty without scores."""
    num = min(map(len, ranked), default=0) if len(ranked) == len(judged) else 0
    return {str(n): best_of(ranked, judged, n) if n <= num else None for n in BEST_OF}
