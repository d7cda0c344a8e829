"""8-bit weights for transformer blocks: half of bfloat16's bytes, activations untouched.

One scale per output channel, symmetric, rounding to nearest; heads and embeddings stay as they are.
The error is measured while quantising and reported, because nobody should have to guess it. On a
CPU it is a way to fit memory and to serve a row or two; with more rows packed bfloat16 is faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import CheckpointError
from models.stage2.blocks import Block

_LEVELS = 127


class Int8Linear(nn.Module):
    """`nn.Linear` with int8 weights; activations keep their type."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.register_buffer("weight", weight)  # [out, in] int8
        self.register_buffer("scale", scale)  # [out], the activations' type
        self.register_buffer("bias", bias)
        self.weight_bytes = weight.nbytes
        self.has_kernel = has_kernel(weight, scale.dtype)

    def forward(self, x: Tensor) -> Tensor:
        if not self.has_kernel:
            return F.linear(x, self.dequantised(), self.bias)
        flat = torch._weight_int8pack_mm(x.flatten(0, -2), self.weight, self.scale)
        out = flat.view(*x.shape[:-1], -1)
        return out if self.bias is None else out + self.bias

    def dequantised(self) -> Tensor:
        """The weights that the layer stands for, [out, in]."""
        return self.weight.to(self.scale.dtype) * self.scale[:, None]


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What quantising cost: by how much weights w and their quantised form ŵ differ."""

    num_layers: int
    bytes_before: int
    bytes_after: int
    largest: float  # of |w - ŵ|, as a share of its layer's largest |w|
    relative_rms: float  # of w - ŵ, as a share of the rms of w
    worst: tuple[float, str]  # the largest relative_rms of one layer, and which

    def __str__(self) -> str:
        return (
            f"{self.num_layers} layers, {self.bytes_before / 2**20:.0f} →"
            f" {self.bytes_after / 2**20:.0f} MiB\n"
            f"weights: relative rms error {self.relative_rms:.2%}, largest {self.largest:.2%} of"
            f" a layer's largest; worst layer {self.worst[1]}, {self.worst[0]:.2%}"
        )


@torch.no_grad()
def quantize(model: nn.Module) -> QuantizationReport:
    """Quantise every linear layer of the model's blocks in place, one at a time.

    The model is on its device and in its serving type.

    Raises:
        CheckpointError: it has no such layers.
    """
    layers = list(_linears(model))
    if not layers:
        raise CheckpointError(f"a {type(model).__name__} has no blocks that int8 could be for")
    bytes_before = bytes_after = 0
    largest, worst, squares = 0.0, (0.0, ""), torch.zeros(2, dtype=torch.float64)
    for parent, leaf, name in layers:
        linear = cast(nn.Linear, getattr(parent, leaf))
        quantised = _quantised(linear)
        setattr(parent, leaf, quantised)
        weight = linear.weight.float()
        error = quantised.dequantised().float() - weight
        sums = torch.stack((error.square().sum(), weight.square().sum())).double().cpu()
        squares += sums
        largest = max(largest, float(error.abs().max() / weight.abs().max()))
        worst = max(worst, (float((sums[0] / sums[1]).sqrt()), name))
        bytes_before += linear.weight.nbytes
        bytes_after += quantised.weight.nbytes + quantised.scale.nbytes
    rms = float((squares[0] / squares[1]).sqrt())
    return QuantizationReport(len(layers), bytes_before, bytes_after, largest, rms, worst)


def bytes_saved(model: nn.Module) -> int:
    """By how much `quantize` will make the model smaller, which is in its serving type."""
    weights = [cast(nn.Linear, getattr(parent, leaf)).weight for parent, leaf, _ in _linears(model)]
    scales = sum(len(weight) * weight.itemsize for weight in weights)
    return sum(weight.nbytes - weight.numel() for weight in weights) - scales


def round_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [out, in] → int8 [out, in] and the scale of each row [out] in the weights' type."""
    wide = weight.float()
    # The scale is rounded to its stored type first, so that this rounding costs no accuracy.
    scale = (wide.abs().amax(1) / _LEVELS).to(weight.dtype)
    divisor = scale.float().clamp(min=torch.finfo(torch.float32).tiny)
    levels = (wide / divisor[:, None]).round().clamp(-_LEVELS, _LEVELS)
    return levels.to(torch.int8), scale


def has_kernel(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the device multiplies these int8 weights faster than it would dequantise them."""
    # The CPU takes every type, but only bfloat16 has a fast path there; it reads whole vectors.
    if weight.device.type != "cpu" or dtype != torch.bfloat16 or weight.shape[1] % 32:
        return False
    return hasattr(torch, "_weight_int8pack_mm")


def _linears(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    for block, outer in model.named_modules():
        if isinstance(outer, Block):
            for path, module in outer.named_modules(prefix=block):
                for leaf, child in module.named_children():
                    if type(child) is nn.Linear:
                        yield module, leaf, f"{path}.{leaf}"


def _quantised(linear: nn.Linear) -> Int8Linear:
    bias = None if linear.bias is None else linear.bias.detach()
    return Int8Linear(*round_weights(linear.weight.detach()), bias)
