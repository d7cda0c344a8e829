"""The Inception Score (Salimans et al. 2016): sure of each picture, and of all of them different.

Gathered a batch at a time: of each split only sums are kept. Knows no network.
"""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

_NUM_SPLITS = 10  # as every published number has it


class InceptionScore:
    """Of `total` pictures, which come in their order; fewer pictures than splits get one each."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._num_splits = max(1, min(_NUM_SPLITS, total))
        self._num = 0
        self._counts = [0] * self._num_splits
        self._shares: list[Tensor | None] = [None] * self._num_splits  # sums of probabilities [C]
        self._certainty = [0.0] * self._num_splits  # sums of each picture's negative entropy

    def add(self, logits: Tensor) -> None:
        """Take in logits [n, C]."""
        split = torch.arange(self._num, self._num + len(logits))
        self._num += len(logits)
        # Split i begins at i · total // splits, as torch-fidelity cuts them.
        split = ((split + 1) * self._num_splits - 1).div(self._total, rounding_mode="floor")
        logits = logits.double().cpu()
        for index in torch.unique(split).tolist():
            self._add(min(index, self._num_splits - 1), logits[split == index])

    def _add(self, split: int, logits: Tensor) -> None:
        log_shares = logits.log_softmax(1)
        shares, known = log_shares.exp(), self._shares[split]
        self._counts[split] += len(logits)
        self._certainty[split] += float((shares * log_shares).sum())
        self._shares[split] = shares.sum(0) if known is None else known + shares.sum(0)

    @property
    def value(self) -> float:
        """Mean over the splits that have pictures."""
        parts = zip(self._counts, self._shares, self._certainty, strict=True)
        scores = [
            certainty / count - float(torch.special.xlogy(mean, mean).sum())
            for count, total, certainty in parts
            if total is not None and (mean := total / count) is not None
        ]
        return statistics.fmean(map(math.exp, scores))
