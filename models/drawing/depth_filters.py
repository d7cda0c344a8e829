"""Every row's sampling parameters at every depth of a step, in memory that stays where it is.

A step takes views of it: on few rows a CPU starts operations for longer than it runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.drawing.sampling import Filters, RowParams


@dataclass(frozen=True, slots=True)
class DepthFilters:
    """The `Filters` of B rows at D depths, [B, D] each, and what the host knows of each depth."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    works: tuple[tuple[int | None, bool], ...]  # each depth's `Filters.work`

    @classmethod
    def of(
        cls,
        params: Sequence[RowParams],
        vocab_sizes: Sequence[int],
        device: torch.device,
        *,
        closed_nucleus: bool = False,
    ) -> DepthFilters:
        """Put the parameters of some rows on the device, for codes of these vocabularies."""
        depths = [
            Filters.of(params, size, device, depth, closed_nucleus=closed_nucleus)
            for depth, size in enumerate(vocab_sizes)
        ]
        return cls(
            temperature=torch.stack([depth.temperature for depth in depths], -1),
            top_k=torch.stack([depth.top_k for depth in depths], -1),
            top_p=torch.stack([depth.top_p for depth in depths], -1),
            works=tuple(depth.work for depth in depths),
        )

    def first(self, count: int) -> DepthFilters:
        """Those of rows 0 .. count-1, in the same memory."""
        return replace(
            self,
            temperature=self.temperature[:count],
            top_k=self.top_k[:count],
            top_p=self.top_p[:count],
        )

    def overwritten_by(self, other: DepthFilters) -> DepthFilters:
        """`other`, in this one's memory: a captured step goes on reading there."""
        return replace(
            other,
            temperature=self.temperature.copy_(other.temperature),
            top_k=self.top_k.copy_(other.top_k),
            top_p=self.top_p.copy_(other.top_p),
        )

    def at(self, depth: int, count: int | None = None) -> Filters:
        """Those of one depth [B], or of `count` from there on that are drawn at once [B, count].

        Depths that are drawn at once have one vocabulary.
        """
        where = depth if count is None else slice(depth, depth + count)
        works = self.works[depth : depth + (count or 1)]
        return Filters(
            temperature=self.temperature[:, where],
            top_k=self.top_k[:, where],
            top_p=self.top_p[:, where],
            max_top_k=max(most or 0 for most, _ in works) or None,
            has_top_p=any(has_top_p for _, has_top_p in works),
        )
