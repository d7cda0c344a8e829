"""What a codec keeps of pictures: PSNR, SSIM, the Fréchet distance of what it makes, codes in use.

Pictures go through a batch at a time. Knows no prior.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.measure.metrics.gaussian import Gaussian
from models.measure.metrics.ssim import ssim
from models.measure.networks import Network
from models.measure.tables.table import Cell
from models.stage1.codec import Codec
from models.train.recipes.codec import entropy, psnr


@dataclass(slots=True)
class CodeUse:
    """How often each code stood at one depth."""

    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def add(self, codes: Tensor) -> None:
        """Take in codes of any shape."""
        more = torch.bincount(codes.flatten().cpu(), minlength=len(self.counts))
        more[: len(self.counts)] += self.counts
        self.counts = more

    @property
    def num(self) -> int:
        """Codes in use."""
        return int((self.counts > 0).sum())

    @property
    def perplexity(self) -> float:
        """How many codes are in even use: exp of the entropy of their frequencies."""
        return math.exp(entropy(self.counts))


@torch.inference_mode()
def reconstruction(
    codec: Codec, batches: Iterable[Tensor], network: Network | None
) -> dict[str, Cell]:
    """Figures over batches of pixels in 0..1 [n, 3, H, W]; rFID in the network's eyes."""
    uses = [CodeUse() for _ in range(codec.code_shape[1])]
    real, made_again, num = Gaussian(), Gaussian(), 0
    noise = likeness = 0.0
    for pixels in batches:
        codes = codec.encode(pixels)
        made = codec.pixels(codes).clamp(0, 1)
        num += len(pixels)
        noise += psnr(made * 2 - 1, pixels * 2 - 1) * len(pixels)
        likeness += float(ssim(made, pixels).sum())
        for use, part in zip(uses, codes.unbind(-1), strict=True):
            use.add(part)
        if network is not None:
            real.add(network.look(pixels).features)
            made_again.add(network.look(made).features)
    return {
        "pictures": float(num),
        "PSNR, dB": noise / num,
        "SSIM": likeness / num,
        "rFID": made_again.distance(real) if real.num > 1 else None,
        "codes in use": " + ".join(str(use.num) for use in uses),
        "perplexity": " + ".join(f"{use.perplexity:.0f}" for use in uses),
    }
