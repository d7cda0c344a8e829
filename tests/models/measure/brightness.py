"""A CLIP that needs no training: a picture's brightness, and every text is bright."""

from __future__ import annotations

import torch
from torch import Tensor

from models.rerank.clip import ClipScorer
from models.rerank.preprocess import Preprocess


class Brightness:
    """An encoder whose one feature pair is a picture's brightness."""

    def encode_image(self, images: Tensor) -> Tensor:
        light = images.mean((1, 2, 3))
        return torch.stack([light, 1 - light], dim=1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(tokens), 2)


def scorer() -> ClipScorer:
    """The brighter the better."""
    return ClipScorer(
        Brightness(), lambda text: torch.tensor([[len(text)]]), Preprocess(8, (0, 0, 0), (1, 1, 1))
    )
