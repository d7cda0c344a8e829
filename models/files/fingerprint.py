"""Weights → a digest by which they are known again, whichever files hold them.

Counted are names, shapes and values to float16's precision, in which models are shipped: a copy
that was rounded so is the same model. Knows no files and no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The sha256 of state dict items by our names, in hexadecimal; in whatever order they come."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu()
        if values.is_floating_point():
            values = values.to(torch.float16)
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()
