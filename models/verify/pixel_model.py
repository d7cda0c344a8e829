"""One pixel model of a recorded set beside the set's numbers of it, and what its head gives.

Knows no array but pictures and classes.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from models.configs.pixels import PixelPriorConfig
from models.stage2.channel_groups import scaled_levels
from models.stage2.dmol import scaled
from models.stage2.image_transformer import ImageTransformer
from models.stage2.pixel_cnn import PixelCNN
from models.stage2.pixel_cnn_pp import PixelCNNPP
from models.verify.recorded import AbsentError, Recorded


@dataclass
class PixelModel:
    """A model of a set, and the prefix of its numbers' names; `images` where they are another's."""

    prefix: str
    config: PixelPriorConfig
    module: nn.Module
    recorded: Recorded
    images: str = ""

    @cached_property
    def exact(self) -> Any:  # Any: each family's module has what its own checks ask for
        """The model in float64."""
        return deepcopy(self.module).double()

    @property
    def images_name(self) -> str:
        """Which array its pictures are."""
        names = (f"{self.prefix}images_u8", f"{self.prefix}images")
        known = [name for name in names if name in self.recorded.arrays]
        if not known and not self.images:
            raise AbsentError(f"{self.prefix}images")
        return self.images or known[0]

    @property
    def values(self) -> Tensor:
        """Levels [B, C, H, W] of its pictures."""
        return self.recorded.tensor(self.images_name)

    @property
    def classes(self) -> Tensor | None:
        """Of its pictures [B], None for a model without."""
        if self.config.prompt_kind == "none":
            return None
        return self.recorded.tensor(f"{self.prefix}labels")

    def ids(self, count: int) -> Tensor:
        """Prefix ids [count, 1]."""
        classes = self.classes
        return torch.zeros(count, 1, dtype=torch.int64) if classes is None else classes[:, None]

    def array(self, name: str) -> Tensor:
        """One of its arrays that others are computed from."""
        return self.recorded.tensor(f"{self.prefix}{name}")


def head(model: PixelModel, module: Any, values: Tensor) -> Tensor:
    """What the head gives for pictures [B, C, H, W], in the recorded order."""
    classes = model.classes
    if isinstance(module, PixelCNNPP):
        found: Tensor = module(scaled(values, module.dtype), classes)
    elif isinstance(module, ImageTransformer):
        found = module(values, classes)
    elif isinstance(module, PixelCNN):
        found = module.logits(scaled_levels(values, module.config.levels, module.dtype))
    else:
        found = module(module.scaled(values), classes)
    return found
