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
        self.has_kernel = has_kernel(weight.device, scale.dtype)

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
class LayerError:
    """What rounding did to one layer's weights."""

    name: str
    largest: float  # of |w - ŵ|, as a share of the layer's largest |w|
    relative_rms: float  # of w - ŵ, as a share of the rms of w


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What quantising cost."""

    num_layers: int
    bytes_before: int
    bytes_after: int
    worst: LayerError  # the layer with the largest relative_rms
    largest: float  # over all layers
    relative_rms: float  # over all layers

    def __str__(self) -> str:
        return (
            f"{self.num_layers} layers, {self.bytes_before / 2**20:.0f} →"
            f" {self.bytes_after / 2**20:.0f} MiB\n"
            f"weights: relative rms error {self.relative_rms:.2%}, largest {self.largest:.2%} of"
            f" a layer's largest; worst layer {self.worst.name}, {self.worst.relative_rms:.2%}"
        )


@torch.no_grad()
def quantize(model: nn.Module) -> QuantizationReport:
    """Quantise every linear layer of the model's blocks in place, one at a time.

    The model is on its device and in its serving type.
    """
    layers = list(_linears(model))
    errors: list[LayerError] = []
    squares = torch.zeros(2, dtype=torch.float64)  # of the errors, of the weights
    bytes_before = bytes_after = 0
    for parent, leaf, name in layers:
        linear = cast(nn.Linear, getattr(parent, leaf))
        quantised, error, layer_squares = _quantise_layer(linear, name)
        setattr(parent, leaf, quantised)
        errors.append(error)
        squares += layer_squares
        bytes_before += linear.weight.nbytes
        bytes_after += quantised.weight.nbytes + quantised.scale.nbytes
    return QuantizationReport(
        num_layers=len(layers),
        bytes_before=bytes_before,
        bytes_after=bytes_after,
        worst=max(errors, key=lambda error: error.relative_rms),
        largest=max(error.largest for error in errors),
        relative_rms=float((squares[0] / squares[1]).sqrt()),
    )


def round_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [out, in] → int8 [out, in] and the scale of each row [out] in the weights' type."""
    wide = weight.float()
    # The scale is rounded to its stored type first, so that this rounding costs no accuracy.
    scale = (wide.abs().amax(1) / _LEVELS).to(weight.dtype)
    divisor = scale.float().clamp(min=torch.finfo(torch.float32).tiny)
    levels = (wide / divisor[:, None]).round().clamp(-_LEVELS, _LEVELS)
    return levels.to(torch.int8), scale


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this device multiplies int8 weights faster than it would dequantise them."""
    # The CPU takes every type, but only bfloat16 has a fast path there.
    if device.type != "cpu" or dtype != torch.bfloat16:
        return False
    return hasattr(torch, "_weight_int8pack_mm")


def _linears(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    for block, outer in model.named_modules():
        if isinstance(outer, Block):
            for path, module in outer.named_modules(prefix=block):
                for leaf, child in module.named_children():
                    if type(child) is nn.Linear:
                        yield module, leaf, f"{path}.{leaf}"


def _quantise_layer(linear: nn.Linear, name: str) -> tuple[Int8Linear, LayerError, Tensor]:
    weight = linear.weight.detach()
    rounded, scale = round_weights(weight)
    bias = None if linear.bias is None else linear.bias.detach()
    quantised = Int8Linear(rounded, scale, bias)
    wide = weight.float()
    difference = quantised.dequantised().float() - wide
    squares = torch.stack((difference.square().sum(), wide.square().sum())).double().cpu()
    error = LayerError(
        name=name,
        largest=float(difference.abs().max() / wide.abs().max()),
        relative_rms=float((squares[0] / squares[1]).sqrt()),
    )
    return quantised, error, squares
