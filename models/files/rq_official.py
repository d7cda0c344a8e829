"""The official files of the RQ family and their key names, as a `WeightSource` for each stage.

Upstream keeps query, key and value apart. A shared codebook stands in the file once per depth, with
moving averages that only training reads; one of each is enough here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.errors import KeyMismatchError, KeyReport, Shape
from models.files.pickles import read_state_dict
from models.rq_configs import RQVAEConfig

_QKV = ("query", "key", "value")
_MOVING_AVERAGES = r"quantizer\.codebooks\.\d+\.(cluster_size_ema|embed_ema)"
_REPEATED_BOOKS = r"quantizer\.codebooks\.[1-9]\d*\.weight"
_OFFSETS = r"tok_emb\.offsets"  # follows from the vocabularies


class RQWeights:
    """The tensors of one official file of the family, by our names.

    `unread` is a pattern of names that are left out, `state` which of the file's state dicts is
    read: "state_dict", or "state_dict_ema" for the weights' moving average.
    """

    def __init__(self, path: Path, unread: str, state: str = "state_dict") -> None:
        self._path = path
        self._state = read_state_dict(path, key=state, unread=unread)

    def check(self, needed: dict[str, Shape]) -> None:
        """See WeightSource."""
        found = {name: tuple(tensor.shape) for name, tensor in self._state.items()}
        report = KeyReport.compare(upstream_shapes(needed), found)
        if not report.is_clean:
            raise KeyMismatchError(str(self._path), report)

    def tensors(
        self, needed: dict[str, Shape], device: torch.device, dtype: torch.dtype | None
    ) -> Iterator[tuple[str, Tensor]]:
        """See WeightSource."""
        for name, shape in needed.items():
            parts = [self._state[part] for part in upstream_names(name, shape)]
            tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
            yield name, tensor.to(device=device, dtype=dtype)


def stage1_unread(config: RQVAEConfig) -> str:
    """Names in an RQ-VAE's file that the model has no use for."""
    shared = f"|{_REPEATED_BOOKS}" if config.shared_codebook else ""
    return _MOVING_AVERAGES + shared


def stage2_unread() -> str:
    """Names in an RQ-Transformer's file that the model has no use for."""
    return _OFFSETS


def upstream_names(name: str, shape: Shape) -> dict[str, Shape]:
    """The official file's tensors that make up one of ours when joined, and their shapes."""
    if ".attn.qkv." in name:
        part = (shape[0] // 3, *shape[1:])
        return {name.replace(".qkv.", f".{key}."): part for key in _QKV}
    return {name: shape}


def upstream_shapes(needed: Mapping[str, Shape]) -> dict[str, Shape]:
    """Our names and shapes → those of the official file."""
    out: dict[str, Shape] = {}
    for name, shape in needed.items():
        out |= upstream_names(name, shape)
    return out
