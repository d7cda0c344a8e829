from __future__ import annotations

from typing import Literal, cast

import pytest
import torch
from torch import nn

from models.footprint import weight_bytes
from models.pipeline import LoadOptions, load
from models.presets.register import get_preset


@pytest.mark.parametrize("name", ["tiny", "tiny-hq"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_what_weights_will_take_is_what_they_take(
    name: str, dtype: torch.dtype, quantization: Literal["none", "int8"]
) -> None:
    options = LoadOptions(dtype=dtype, quantization=quantization, packed=False)
    pipeline = load(name, options=options)
    stages = pipeline.stage1, pipeline.stage2
    held = [value for stage in stages for value in cast(nn.Module, stage).state_dict().values()]
    assert weight_bytes(get_preset(name), options) == sum(value.nbytes for value in held)
