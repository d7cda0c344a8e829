"""The shape of a VQGAN as a dataclass. Knows no torch.

What the numbers mean is in the model files; fields are named as in the official config.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.configs.backbone import BackboneConfig
from models.configs.numbers import Size

CodeOrder = Literal[
    "raster", "subsample", "zcurve", "spiral-out", "spiral-in", "random", "alternate"
]


@dataclass(frozen=True, slots=True)
class VQGANConfig(BackboneConfig):
    """Shape of a VQGAN: pixels ↔ a grid of codes.

    Its `quantizer` takes the nearest of the codebook's vectors, or, as in models that were trained
    with the Gumbel-softmax relaxation, the code with the largest logit. Codes are drawn in
    `order`, for which see `orders`.
    """

    embed_dim: Size = 256
    n_embed: Size = 16384
    quantizer: Literal["nearest", "gumbel"] = "nearest"
    order: CodeOrder = "raster"

    @property
    def code_shape(self) -> tuple[int, int]:
        return self.grid_size**2, 1

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        return (self.n_embed,)
