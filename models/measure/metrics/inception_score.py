"""The Inception Score (Salimans et al. 2016): sure of each picture, and of all of them different.

Gathered a batch at a time: of each split only sums are kept. Pictures are dealt out to splits at
random, the same way as torch-fidelity does, or a list sorted by class would have few in each. Knows
no network.
"""

from __future__ import annotations

import math
import statistics

import numpy as np
import torch
from torch import Tensor

_NUM_SPLITS = 10  # as every published number has it
_SEED = 2020  # torch-fidelity's


class InceptionScore:
    """Of `total` pictures at most; fewer pictures than splits get one each."""

    def __init__(self, total: int) -> None:
        num_splits = max(1, min(_NUM_SPLITS, total))
        self._splits = _dealt(total, num_splits)
        self._num = 0
        self._counts = [0] * num_splits
        self._shares: list[Tensor | None] = [None] * num_splits  # sums of probabilities [C]
        self._certainty = [0.0] * num_splits  # sums of each picture's negative entropy

    def add(self, logits: Tensor) -> None:
        """Take in logits [n, C]."""
        split = self._splits[self._num : self._num + len(logits)]
        self._num += len(logits)
        logits = logits.double().cpu()
        for index in torch.unique(split).tolist():
            self._add(index, logits[split == index])

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


def _dealt(total: int, num_splits: int) -> Tensor:
    """The split of each picture [total]; after shuffling, split i begins at i · total // splits."""
    order = torch.from_numpy(np.random.RandomState(_SEED).permutation(total))
    place = torch.empty(total, dtype=torch.int64)
    place[order] = torch.arange(total)
    return ((place + 1) * num_splits - 1).div(total, rounding_mode="floor")
