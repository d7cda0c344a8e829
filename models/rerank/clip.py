"""CLIP: how well each picture fits its prompt.

Preprocessing is the reference's to the byte: 8-bit truncation, PIL's bicubic resize of the shorter
side, centre crop. Encoders and tokenizer come from outside; how a model is built and where its
weights lie is `models.rerank.clip_files`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.configs import Prompt
from models.pictures import to_bytes

# Kernels may sum differently for other batch sizes, so pictures always go through in chunks of
# this many, the last one padded: a score then does not depend on how many others are scored.
CHUNK = 8


class Encoder(Protocol):
    """The two towers of a CLIP."""

    def encode_image(self, images: Tensor) -> Tensor:
        """Preprocessed images [n, 3, S, S] → features [n, E]."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Token ids [n, N] → features [n, E]."""


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Pixels → what the image tower takes."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels in 0..1 [n, 3, H, W], any device → float32 [n, 3, size, size] on the CPU."""
        bytes_ = to_bytes(pixels)
        cropped = torch.from_numpy(np.stack([self._crop(picture) for picture in bytes_]))
        scaled = cropped.permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (self.mean, self.std))
        return (scaled - mean) / std

    def _crop(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = Image.fromarray(picture)
        short = min(image.size)
        width, height = (int(self.size * side / short) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))


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
        starts = range(0, len(pixels), CHUNK)
        return torch.cat([self._features(pixels[start : start + CHUNK]) for start in starts])

    def _features(self, pixels: Tensor) -> Tensor:
        images = self._preprocess(pixels)
        padded = F.pad(images, (0, 0, 0, 0, 0, 0, 0, CHUNK - len(images)))
        features = self._encoder.encode_image(padded.to(self._device)).float()
        return F.normalize(features, dim=-1)[: len(pixels)]
