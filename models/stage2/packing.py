"""Linear layers with their weights laid out for this CPU's matrix kernels (oneDNN), once, at load.

A decode step multiplies few rows by large weights; unpacked, the library would re-arrange or
stride through them at every step. Knows no model: any module's `nn.Linear`s can be packed.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

_CHECKS = {
    torch.bfloat16: "_is_mkldnn_bf16_supported",
    torch.float16: "_is_mkldnn_fp16_supported",
}


class PackedLinear(nn.Module):
    """`nn.Linear` for inference on a CPU, same numbers up to rounding, weights not trainable.

    With `gelu`, an approximation's name, it is `nn.Linear` and that `nn.GELU` in one pass.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, gelu: str | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]
        self.weight_bytes = weight.nbytes
        # An opaque layout: it can't be a Parameter and has no state dict entry.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._bias = bias
        self._after: tuple[str, list[float], str] = ("none", [], "")
        if gelu:
            self._after = ("gelu", [], gelu)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, *self._after)
        return out


def can_pack(device: torch.device, dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of torch has the packed kernels for this device, and the CPU the type."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch ships no types for it
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and is_native(device, dtype)
    )


def is_native(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the device computes in the type itself; of a CPU oneDNN says so.

    One that doesn't converts at every product and can't pack: it takes about four times as long as
    in float32.
    """
    if device.type != "cpu" or dtype not in _CHECKS:
        return True
    is_supported = getattr(torch.ops.mkldnn, _CHECKS[dtype], None)  # None: torch without oneDNN
    return is_supported is not None and bool(is_supported())


@torch.no_grad()
def pack_linears(module: nn.Module, keep: Collection[str] = ()) -> int:
    """Replace every `nn.Linear` below `module`; each weight is freed as soon as it is packed.

    Direct children named in `keep` stay: a weight that is never read costs no memory while it is
    mapped from its file, and all of it once it is packed. In an `nn.Sequential` the `nn.GELU`
    behind a layer goes into it.

    Returns:
        How many were replaced.
    """
    count = 0
    for name, child in list(module.named_children()):
        if name in keep:
            continue
        if type(child) is nn.Linear:
            bias = None if child.bias is None else child.bias.detach()
            gelu = _pop_gelu(module, int(name)) if isinstance(module, nn.Sequential) else None
            setattr(module, name, PackedLinear(child.weight.detach(), bias, gelu=gelu))
            count += 1
        else:
            count += pack_linears(child)
    return count


def _pop_gelu(layers: nn.Sequential, index: int) -> str | None:
    """Take the GELU behind layer `index` out, if there is one, and say how it approximates."""
    behind = layers[index + 1] if index + 1 < len(layers) else None
    if type(behind) is not nn.GELU:
        return None
    layers[index + 1] = nn.Identity()
    return behind.approximate
