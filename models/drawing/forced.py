"""Codes that are known before anything is drawn, and how they get into a row.

The first steps that are known go through the prior together with the prompt, once for all
candidates, where the prior can do that; the others are stepped through. Knows no picture: where the
codes come from is nothing to the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from models.stage2.prior import Continuing, Prefix, Prior

FREE = -1  # stands where a code is to be drawn


@dataclass(frozen=True, slots=True)
class Forced:
    """What is known of a picture, the same for all of its candidates. Make it with `of`."""

    codes: Tensor  # [T, D] int64 on the prior's device, FREE where there is something to draw
    num_prefilled: int = 0  # first steps that `prefix` holds beside the prompt

    @classmethod
    def of(cls, prior: Prior, codes: Tensor) -> Self:
        """For codes [T, D] of this prior.

        Raises:
            ValueError: no codes of this prior.
        """
        _check(codes, prior)
        known = (codes != FREE).all(-1).int()
        # The last step is drawn, that is to say forced, as every other one: no row ends unstepped.
        leading = min(int(known.cumprod(0).sum()), prior.num_steps - 1)
        can_continue = isinstance(prior, Continuing)
        return cls(codes.to(prior.device), leading if can_continue else 0)

    @torch.inference_mode()
    def prefix(self, prior: Prior, ids: Tensor) -> Prefix:
        """A prompt's ids [1, N], and what can go with them, through the prior."""
        if self.num_prefilled and isinstance(prior, Continuing):
            return prior.prefill_with(ids, self.codes[None, : self.num_prefilled])
        return prior.prefill(ids)


def prefill(prior: Prior, ids: Tensor, forced: Forced | None) -> Prefix:
    """A prompt's ids [1, N] through the prior, with what is forced or without."""
    return forced.prefix(prior, ids) if forced else prior.prefill(ids)


def _check(codes: Tensor, prior: Prior) -> None:
    wanted = (prior.num_steps, prior.depth)
    if tuple(codes.shape) != wanted or codes.dtype != torch.int64:
        raise ValueError(f"codes are {tuple(codes.shape)} {codes.dtype}, not {wanted} int64")
    sizes: Sequence[int] = prior.vocab_sizes
    if bool((codes < FREE).any()) or bool(
        (codes >= torch.tensor(sizes, device=codes.device)).any()
    ):
        raise ValueError(f"codes must be below {sizes}, or {FREE} where one is to be drawn")
