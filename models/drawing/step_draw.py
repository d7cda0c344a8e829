"""One step's codes: a depth at a time, or several at once, and what there is to see on the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.drawing.depth_filters import DepthFilters
from models.drawing.forced import FREE
from models.drawing.sampling import draw


@dataclass(frozen=True, slots=True)
class StepDraw:
    """The `Draw` of b rows at one step.

    `uniform` and `known` are [b, D]: what is known is not drawn, and takes no number. `is_sound`
    [b] stays true where all logits are finite. `log_probs` [b, D], where they are wanted, get what
    the prior itself thinks of each code that is drawn, before temperature and filters; of a known
    one 0.
    """

    filters: DepthFilters
    uniform: Tensor
    known: Tensor
    is_sound: Tensor
    log_probs: Tensor | None

    def __call__(self, logits: Tensor, depth: int) -> Tensor:
        """Codes [b] by logits [b, V], or [b, n] by those [b, n, V] of n depths from `depth` on."""
        largest = logits.amax(-1)  # NaN if any is
        self.is_sound.logical_and_(are_finite(largest.view(len(largest), -1)))
        count = logits.shape[1] if logits.dim() == 3 else None
        at = depth if count is None else slice(depth, depth + count)
        drawn = draw(logits, self.filters.at(depth, count), self.uniform[:, at])
        is_free = self.known[:, at] == FREE
        if self.log_probs is not None:
            self.log_probs[:, at] = _log_prob(logits, drawn).where(is_free, 0)
        return drawn.where(is_free, self.known[:, at])


def are_finite(numbers: Tensor) -> Tensor:
    """Whether all of each row's numbers [b, n] are, [b]; in fewer operations than `isfinite`."""
    return numbers.abs().amax(-1) < torch.inf  # the largest is NaN if any is, and NaN isn't below


def _log_prob(logits: Tensor, codes: Tensor) -> Tensor:
    """Of codes [...] by logits [..., V], in float32: a row's number depends on no other row."""
    return logits.float().log_softmax(-1).gather(-1, codes[..., None]).squeeze(-1)
