"""Linear layers with their weights laid out for this CPU's matrix kernels (oneDNN), once, at load.

A decode step multiplies few rows by large weights; unpacked, the library would re-arrange or
stride through them at every step. Knows no model: any module's `nn.Linear`s can be packed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """`nn.Linear` for inference on a CPU, same numbers up to rounding, weights not trainable."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]
        self.weight_bytes = weight.nbytes
        # An opaque layout: it can't be a Parameter and has no state dict entry.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._bias = bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self._bias, "none", [], ""
        )
        return out


def can_pack(device: torch.device) -> bool:
    """Whether this build of torch has the packed kernels for this device."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch ships no types for it
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@torch.no_grad()
def pack_linears(module: nn.Module) -> int:
    """Replace every `nn.Linear` below `module`; each weight is freed as soon as it is packed.

    Returns:
        How many were replaced.
    """
    count = 0
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            bias = None if child.bias is None else child.bias.detach()
            packed = PackedLinear(child.weight.detach(), bias)
            setattr(module, name, packed)
            count += 1
        else:
            count += pack_linears(child)
    return count
