"""Bits per dimension: how well a prior over pixels' own values foresees pictures.

Over sub-pixels, as the papers report. Knows no codes of a codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from models.measure.reference import batches
from models.pipeline import Pipeline
from models.train.data.data_set import DataSet, Variant
from models.train.pixels import classes_in
from models.train.recipes.pixels import bits


class Levels(Protocol):
    """A codec whose codes are the pictures' own values."""

    def encode(self, pixels: Tensor) -> Tensor: ...
    def values(self, codes: Tensor) -> Tensor: ...


@torch.inference_mode()
def bits_per_dimension(
    pipeline: Pipeline, data: DataSet, variants: list[Variant]
) -> Mapping[str, float | None]:
    """Of a model of pixels over pictures of a data set."""
    codec, model = cast(Levels, pipeline.stage1), cast(nn.Module, pipeline.stage2)
    device = pipeline.options.device
    classes, _ = classes_in(data) if pipeline.preset.num_classes else ({}, 0)
    total, num = 0.0, 0
    for part, pixels in batches(data, variants):
        values = codec.values(codec.encode(pixels)).to(device)
        of = torch.tensor([classes[v.image] for v in part], device=device) if classes else None
        total += float(bits(model, values, of)) * len(part)
        num += len(part)
    return {"pictures": float(num), "bits per dimension": total / num}
