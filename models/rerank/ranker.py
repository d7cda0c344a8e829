"""What the house asks of whoever ranks pictures, however it does so."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from models.configs import Prompt


class Ranker(Protocol):
    """Says how well candidates fit their prompt."""

    def features(self, prompt: Prompt) -> Tensor | None:
        """What pictures are compared with; None for prompts that it can't judge by."""

    def scores(self, features: Tensor, pixels: Tensor, codes: Tensor | None = None) -> Tensor:
        """One number [n] per picture [n, 3, H, W] and its codes [n, T, D], higher is better."""
