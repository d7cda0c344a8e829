"""The official checkpoint files and their key names, as a `WeightSource`.

A file is a pickle of tensors, read with `weights_only=True` and mapped into memory, never unpickled
any other way. Translation: upstream keeps query, key and value apart and calls the image head
`head_img` in text models; the unconditional model's start-of-sequence is one bare parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.configs import PrefixKind
from models.errors import KeyMismatchError, KeyReport, Shape
from models.files.pickles import read_state_dict

_LIGHTNING_STAGES = ("stage1.", "stage2.")
_QKV = ("query", "key", "value")


def upstream_names(name: str, prefix: PrefixKind) -> tuple[str, ...]:
    """The upstream keys that make up one tensor of our transformer, in the order of their rows."""
    if ".attn.qkv." in name:
        return tuple(name.replace(".qkv.", f".{part}.") for part in _QKV)
    if name == "head.weight" and prefix == "text":
        return ("head_img.weight",)
    if name == "sos.weight" and prefix == "none":
        return ("sos",)
    return (name,)


def upstream_shapes(needed: Mapping[str, Shape], prefix: PrefixKind) -> dict[str, Shape]:
    """Our transformer's names and shapes → those of the official file."""
    out: dict[str, Shape] = {}
    for name, shape in needed.items():
        parts = upstream_names(name, prefix)
        for part in parts:
            is_bare = part == "sos"
            out[part] = (1, *shape) if is_bare else (shape[0] // len(parts), *shape[1:])
    return out


class OfficialWeights:
    """The tensors of one official file, one stage of it.

    `key_prefix` selects a stage in a Lightning checkpoint of both; `prefix` is None for stage 1,
    whose names are ours already.
    """

    def __init__(self, path: Path, key_prefix: str, prefix: PrefixKind | None) -> None:
        state = read_state_dict(path)
        self._where = f"{path} ({key_prefix}*)" if key_prefix else str(path)
        self._prefix = prefix
        others = tuple(stage for stage in _LIGHTNING_STAGES if key_prefix and stage != key_prefix)
        self._state = {
            name.removeprefix(key_prefix): tensor
            for name, tensor in state.items()
            if not (others and name.startswith(others))
        }

    def check(self, needed: dict[str, Shape]) -> None:
        """See WeightSource."""
        upstream = upstream_shapes(needed, self._prefix) if self._prefix else needed
        found = {name: tuple(tensor.shape) for name, tensor in self._state.items()}
        report = KeyReport.compare(upstream, found)
        if not report.is_clean:
            raise KeyMismatchError(self._where, report)

    def tensors(
        self, needed: dict[str, Shape], device: torch.device, dtype: torch.dtype | None
    ) -> Iterator[tuple[str, Tensor]]:
        """See WeightSource."""
        for name, shape in needed.items():
            names = upstream_names(name, self._prefix) if self._prefix else (name,)
            parts = [self._state[part] for part in names]
            tensor = torch.cat(parts) if len(parts) > 1 else parts[0].view(shape)
            yield name, tensor.to(device=device, dtype=dtype)
