"""Ranks candidates by how probable their own prior finds them, for models without a CLIP.

ru-DALL-E's rule: the less perplexed the prior is by a picture's codes, the better. A score is the
perplexity with a minus, so that higher is better; it tells candidates of one prompt apart, not
prompts. Looks at no pixels.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.configs.prior import Prompt
from models.tokenizer import Tokenizer


@runtime_checkable
class SelfRanking(Protocol):
    """A prior whose authors rank by its own perplexity."""

    def perplexity(self, ids: Tensor, codes: Tensor) -> Tensor:
        """Of pictures' codes [B, T] after prompts' ids [B, N]: [B], lower is better."""


class PerplexityRanker:
    """A `Ranker`; what it compares with is the prompt's ids."""

    def __init__(self, prior: SelfRanking, tokenizer: Tokenizer, device: torch.device) -> None:
        self._prior = prior
        self._tokenizer = tokenizer
        self._device = device

    def features(self, prompt: Prompt) -> Tensor | None:
        """Ids [1, N]; None for what is no text."""
        if not isinstance(prompt, str):
            return None
        return torch.tensor([self._tokenizer.encode(prompt)[0]], device=self._device)

    @torch.inference_mode()
    def scores(self, features: Tensor, pixels: Tensor, codes: Tensor | None = None) -> Tensor:
        """[n] on the CPU. One picture at a time: its score depends on no other one's.

        ValueError without the pictures' codes.
        """
        if codes is None:
            raise ValueError(f"{len(pixels)} pictures can't be ranked without their codes")
        codes = codes.flatten(1).to(self._device)
        scores = [-self._prior.perplexity(features, row[None]) for row in codes]
        return torch.cat(scores).cpu() if scores else torch.zeros(0)


def own_ranker(
    prior: object, tokenizer: Tokenizer | None, device: torch.device
) -> PerplexityRanker | None:
    """The ranking that a prior's family has of its own; None for families without one."""
    if tokenizer is None or not isinstance(prior, SelfRanking):
        return None
    return PerplexityRanker(prior, tokenizer, device)
