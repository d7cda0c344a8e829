"""The official files of the RQ family and their key names, as a `WeightSource` for each stage.

Translation: upstream keeps query, key and value apart, all depths' code tables in one tensor and
their classifiers in another, transposed; a codebook has one row more than it has codes (padding),
and a shared one stands in the file once per depth. Its moving averages are training's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.errors import KeyMismatchError, KeyReport, Shape
from models.files.pickles import read_state_dict
from models.rq_configs import RQTransformerConfig, RQVAEConfig

_QKV = ("query", "key", "value")
_MOVING_AVERAGES = r"quantizer\.codebooks\.\d+\.(cluster_size_ema|embed_ema)"
_REPEATED_BOOKS = r"quantizer\.codebooks\.[1-9]\d*\.weight"
_OFFSETS = r"tok_emb\.offsets"  # follows from the vocabularies


class Piece(NamedTuple):
    """One upstream tensor: its name and shape, and what of it belongs to one of ours."""

    key: str
    shape: Shape
    cut: Callable[[Tensor], Tensor]


Translation = Callable[[str, Shape], list[Piece]]  # our name and shape → pieces, first to last row


class RQWeights:
    """The tensors of one official file of the family, by our names."""

    def __init__(self, path: Path, translate: Translation, unread: str, state: str) -> None:
        self._path = path
        self._translate = translate
        self._state = read_state_dict(path, key=state, unread=unread)

    def check(self, needed: dict[str, Shape]) -> None:
        """See WeightSource."""
        upstream = upstream_shapes(needed, self._translate)
        found = {name: tuple(tensor.shape) for name, tensor in self._state.items()}
        report = KeyReport.compare(upstream, found)
        if not report.is_clean:
            raise KeyMismatchError(str(self._path), report)

    def tensors(
        self, needed: dict[str, Shape], device: torch.device, dtype: torch.dtype | None
    ) -> Iterator[tuple[str, Tensor]]:
        """See WeightSource."""
        for name, shape in needed.items():
            parts = [p.cut(self._state[p.key]) for p in self._translate(name, shape)]
            tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
            yield name, tensor.to(device=device, dtype=dtype).contiguous()


def stage1_weights(path: Path, config: RQVAEConfig, state: str = "state_dict") -> RQWeights:
    """An RQ-VAE's file; `state` may name its moving average, "state_dict_ema"."""
    unread = _MOVING_AVERAGES
    if config.shared_codebook:
        unread += f"|{_REPEATED_BOOKS}"
    return RQWeights(path, stage1_pieces, unread, state)


def stage2_weights(path: Path, config: RQTransformerConfig, state: str = "state_dict") -> RQWeights:
    """An RQ-Transformer's file; `state` as in `stage1_weights`."""
    return RQWeights(path, stage2_pieces(config), _OFFSETS, state)


def upstream_shapes(needed: Mapping[str, Shape], translate: Translation) -> dict[str, Shape]:
    """Our names and shapes → those of the official file."""
    return {
        piece.key: piece.shape for name, shape in needed.items() for piece in translate(name, shape)
    }


def stage1_pieces(name: str, shape: Shape) -> list[Piece]:
    """The official RQ-VAE's tensors."""
    if name.startswith("quantizer."):
        return [Piece(name, (shape[0] + 1, shape[1]), lambda book: book[:-1])]
    return [Piece(name, shape, _all)]


def stage2_pieces(config: RQTransformerConfig) -> Translation:
    """The official RQ-Transformer's tensors."""

    def translate(name: str, shape: Shape) -> list[Piece]:
        if ".attn.qkv." in name:
            third = (shape[0] // 3, *shape[1:])
            return [Piece(name.replace(".qkv.", f".{part}."), third, _all) for part in _QKV]
        if found := re.fullmatch(r"tok_emb\.(\d+)\.weight", name):
            return [_table(config, int(found[1]))]
        if found := re.fullmatch(r"(cond_)?classifier\.linear\.(\d+)\.(weight|bias)", name):
            if found[1] or config.shared_cls_emb:
                return [Piece(f"{found[1] or ''}classifier.linear.{found[3]}", shape, _all)]
            return [_linear(config, int(found[2]), found[3])]
        return [Piece(name, shape, _all)]

    return translate


def _table(config: RQTransformerConfig, depth: int) -> Piece:
    sizes = config.vocab_sizes[:1] if config.shared_tok_emb else config.vocab_sizes
    begin = list(accumulate(sizes, initial=0))[depth]
    rows = slice(begin, begin + sizes[depth])
    return Piece("tok_emb.weight", (sum(sizes), config.embed_dim), lambda table: table[rows])


def _linear(config: RQTransformerConfig, depth: int, leaf: str) -> Piece:
    sizes, widest = config.vocab_sizes, max(config.vocab_sizes)
    key = f"classifier.linear.{leaf}"
    if leaf == "bias":
        return Piece(key, (len(sizes), widest), lambda bias: bias[depth, : sizes[depth]])
    shape = (len(sizes), config.embed_dim, widest)
    return Piece(key, shape, lambda weight: weight[depth, :, : sizes[depth]].mT)


def _all(tensor: Tensor) -> Tensor:
    return tensor
