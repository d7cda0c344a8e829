"""What the house asks of whoever ranks pictures, however it does so, and the order of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from models.configs.prior import Prompt

Scores = list[float | None]  # one per picture; None where nothing can be scored


class Ranker(Protocol):
    """Says how well candidates fit their prompt."""

    def features(self, prompt: Prompt) -> Tensor | None:
        """What pictures are compared with; None for prompts that it can't judge by."""

    def scores(self, features: Tensor, pixels: Tensor, codes: Tensor | None = None) -> Tensor:
        """One number [n] per picture [n, 3, H, W] and its codes [n, T, D], higher is better."""


def ranking(scores: Sequence[float | None]) -> list[int]:
    """Indices from the best score to the worst; equals keep their order, NaN and None come last."""
    known = [-math.inf if score is None or math.isnan(score) else score for score in scores]
    return sorted(range(len(known)), key=known.__getitem__, reverse=True)


def weighed(scores: Scores, log_likelihoods: Sequence[float | None], weight: float) -> Scores:
    """Scores that count how likely the prior itself finds the codes, `weight` times nats per code.

    A ranker knows a thing by a part of it, however damaged the rest; damage is improbable.
    """
    pairs = zip(scores, log_likelihoods, strict=True)
    return [s if s is None or nats is None else s + weight * nats for s, nats in pairs]
