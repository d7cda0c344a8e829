"""How many bytes of tensors an object holds, by looking at all that it leads to.

Measured after a model is loaded, since what a family keeps beside its weights (masks, caches,
packed copies) only the family knows. Knows no model.
"""

from __future__ import annotations

import gc
import threading
from types import BuiltinFunctionType, FunctionType, ModuleType

import torch

# They lead to all of the program, and hold no tensors of their own.
_ELSEWHERE = (type, ModuleType, FunctionType, BuiltinFunctionType, threading.Thread)


def held_bytes(*roots: object) -> int:
    """Bytes of all tensors below the roots; what several of them share is counted once.

    A file's pages that weights are mapped from are counted as if all had been read.
    """
    seen: set[int] = set()
    storages: dict[int, int] = {}
    waiting: list[object] = list(roots)
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, _ELSEWHERE):
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            address, num_bytes = _memory_of(each)
            storages[address] = num_bytes
        waiting += gc.get_referents(each)
    return sum(storages.values())


def _memory_of(tensor: torch.Tensor) -> tuple[int, int]:
    """Where it is, and how large that is."""
    if tensor.is_mkldnn:  # opaque: it tells no address, and nobody shares it
        return id(tensor), tensor.numel() * tensor.element_size()
    storage = tensor.untyped_storage()
    return storage.data_ptr() or id(tensor), storage.nbytes()
