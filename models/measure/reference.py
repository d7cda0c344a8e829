"""The real pictures that made ones are compared with, and those that codecs are tried on.

A data set as training opens it, a folder of pictures, or statistics of one. Rendered a batch at a
time, at the size of what is compared. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from models.errors import ConfigError
from models.measure.impression import Crowd, crowd_of
from models.measure.metrics.gaussian import Gaussian
from models.measure.networks import Network
from models.train.data import shards
from models.train.data.data_set import DataSet, Ordered, Variant
from models.train.data.folder import HELD_OUT_EVERY, FolderFiles, FolderSet
from models.train.data.sources import open_data

_BATCH = 32
MAX_JUDGED = 512  # of each kind; sets that compose pictures have no end of them


def batches(
    data: DataSet, variants: Sequence[Variant]
) -> Iterator[tuple[tuple[Variant, ...], Tensor]]:
    """Those that can be read, and their pixels in 0..1 [n, 3, H, W].

    Others are left out, for the data set shows another picture in their place.

    Raises:
        OSError: none can be read.
    """
    num = 0
    for begin in range(0, len(variants), _BATCH):
        seen = [(variant, data.render(variant)) for variant in variants[begin : begin + _BATCH]]
        broken = data.broken if isinstance(data, Ordered) else set()
        whole = [(variant, pixels) for variant, pixels in seen if variant.image not in broken]
        num += len(whole)
        if whole:
            part, pictures = zip(*whole, strict=True)
            yield part, torch.stack(pictures) * 0.5 + 0.5
    if variants and not num:
        raise OSError(f"none of the {len(variants)} pictures to judge by can be read")


@dataclass(slots=True)
class Reference:
    """`real` is a folder, or statistics (.npz); without it, the data set's pictures."""

    data: Path | None
    art: Path
    real: Path | None = None
    _opened: dict[int, DataSet] = field(default_factory=dict, init=False)
    _crowds: dict[tuple[str, int], Crowd] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """ConfigError where `real` is neither: codecs would be tried on the data set instead."""
        real = self.real
        if real and not (real.is_dir() or (real.suffix == ".npz" and real.is_file())):
            raise ConfigError(f"--real: {real} is no folder of pictures, and no .npz")

    def data_set(self, size: int) -> DataSet:
        """With pictures of this size."""
        if size not in self._opened:
            self._opened[size] = open_data(self.data, self.art, size)
        return self._opened[size]

    def labels(self) -> tuple[str, ...]:
        """What there is to see, in words; none of one's own pictures, where each has its own."""
        is_own = self.data is not None and (self.data.is_dir() or shards.is_named(self.data))
        if self.real is not None or is_own:
            return ()
        size = next(iter(self._opened), 64)
        return tuple(dict.fromkeys(self.data_set(size).names()))

    def crowd(self, network: Network, size: int) -> Crowd | Gaussian:
        """The real pictures in a network's eyes."""
        if self.real is not None and self.real.suffix == ".npz":
            return Gaussian.read(self.real)
        if (network.name, size) not in self._crowds:
            self._crowds[network.name, size] = self._looked_at(network, size)
        return self._crowds[network.name, size]

    def _looked_at(self, network: Network, size: int) -> Crowd:
        if self.real is not None:
            data, variants = _all_of(self.real, size)
        else:
            data = self.data_set(size)
            variants = [Variant(image) for image in data.images]
        pixels = (pixels for _, pixels in batches(data, variants))
        return crowd_of(network, pixels, len(variants))

    def unseen(self, size: int) -> tuple[DataSet, dict[str, list[Variant]]]:
        """What codecs are tried on, by kind: all of a folder, or see `judged`."""
        if self.real is not None and self.real.is_dir():
            data, variants = _all_of(self.real, size)
            return data, {self.real.name: variants}
        return self.judged(size)

    def judged(self, size: int) -> tuple[DataSet, dict[str, list[Variant]]]:
        """What training does not see, by kind. ConfigError where the data set has no such pictures.

        None of a kind is empty.
        """
        known = self.data_set(size)
        kinds = {kind: [*some] for kind, some in known.judged(MAX_JUDGED).items() if some}
        if not kinds:
            raise ConfigError(
                f"--data: {self.data} holds out none of its {len(known.images)} pictures to judge"
                f" by: every {HELD_OUT_EVERY}th would be"
            )
        return known, kinds


def _all_of(folder: Path, size: int) -> tuple[DataSet, list[Variant]]:
    data = FolderSet(FolderFiles(folder), size)
    return data, [Variant(image) for image in range(len(data.files))]
