"""Where and in which form a model runs. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from models.stage2 import packing

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Where and in which form a model runs.

    `pixel_chunk` pictures go through stage 1 at once, always that many, so that a picture's bytes
    don't depend on how many others finish with it; without it a CPU finds out how many may.
    `graphs` captures decode steps on CUDA.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    quantization: Literal["none", "int8"] = "none"
    pixel_chunk: int | None = None
    graphs: bool = True
    packed: bool = True

    @property
    def chunk(self) -> int:
        """Pictures per call of whatever makes pixels, where a CPU has not found that more may."""
        return self.pixel_chunk or (1 if self.device.type == "cpu" else 8)

    @property
    def dtype_name(self) -> str:
        """`float32` for torch.float32."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def caveat(self) -> str:
        """What whoever chose this should know; mostly nothing."""
        if packing.is_native(self.device, self.dtype):
            return ""
        lacking = f"this CPU has no instructions for {self.dtype_name}"
        return f"{lacking}: about four times slower than float32"
