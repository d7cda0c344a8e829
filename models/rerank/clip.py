"""CLIP: how well each picture fits its prompt.

Encoders, tokenizer and preprocessing come from outside; how a model is built and where its weights
lie is `models.rerank.clip_files`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.configs.prior import Prompt
from models.rerank.preprocess import Preprocess


class Encoder(Protocol):
    """The two towers of a CLIP."""

    def encode_image(self, images: Tensor) -> Tensor:
        """Preprocessed images [n, 3, S, S] → features [n, E]."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Token ids [n, N] → features [n, E]."""


class ClipScorer:
    """The `Ranker` of text prompts: scores pictures by the cosine of their features with it."""

    def __init__(
        self,
        encoder: Encoder,
        tokenize: Callable[[str], Tensor],
        preprocess: Preprocess,
        device: torch.device | str = "cpu",
    ) -> None:
        self._encoder = encoder
        self._tokenize = tokenize
        self._preprocess = preprocess
        self._device = device

    def features(self, prompt: Prompt) -> Tensor | None:
        """See `Ranker`: None for what is no text."""
        return self.text_features(prompt) if isinstance(prompt, str) else None

    @torch.inference_mode()
    def text_features(self, prompt: str) -> Tensor:
        """Unit vector [E] of a prompt, needed once per prompt; what is too long is cut."""
        tokens = self._tokenize(prompt).to(self._device)  # [1, N]
        return F.normalize(self._encoder.encode_text(tokens).float(), dim=-1)[0]

    @torch.inference_mode()
    def scores(self, text: Tensor, pixels: Tensor, codes: Tensor | None = None) -> Tensor:
        """Cosine of each picture with the prompt.

        Args:
            text: from `text_features`, [E].
            pixels: in 0..1, [n, 3, H, W].
            codes: what they were made of; a CLIP doesn't look at it.

        Returns:
            [n] float32 on the CPU; one picture keeps its axis.
        """
        return (self.image_features(pixels) * text).sum(-1).cpu() if len(pixels) else torch.zeros(0)

    @torch.inference_mode()
    def image_features(self, pixels: Tensor) -> Tensor:
        """Unit vectors [n, E] of at least one picture, pixels in 0..1 [n, 3, H, W]."""
        return F.normalize(self._preprocess.through(self._encode, pixels), dim=-1)

    def _encode(self, images: Tensor) -> Tensor:
        return self._encoder.encode_image(images.to(self._device))
