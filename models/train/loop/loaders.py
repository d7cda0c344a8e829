"""Batches made ahead of the steps that learn from them, by processes of their own.

Captions and pixels cost a processor's time, in which a GPU would wait. A batch depends on its step
alone, so who makes it, and when, changes nothing. Knows no data and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, TypeVar, cast

from torch.utils.data import DataLoader, Dataset

_AHEAD = 4  # batches that each process keeps ready

Batch = TypeVar("Batch")


class _Steps(Dataset[Batch]):
    """What torch's loader indexes: a step's batch."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> Batch:
        return self.make(step)


class Loaders(Generic[Batch]):
    """Gives what `make` makes of a step, from so many processes, or where there are none itself.

    Steps come in order, one after the other, from any first one on.
    """

    def __init__(self, make: Callable[[int], Batch], number: int) -> None:
        self.make, self.number = make, number
        self._coming: Iterator[Batch] | None = None

    def batch(self, step: int) -> Batch:
        """A step's batch; what goes wrong in another process is raised here."""
        if not self.number:
            return self.make(step)
        if self._coming is None:
            self._coming = self._from(step)
        return next(self._coming)

    def _from(self, step: int) -> Iterator[Batch]:
        # Forked, for `make` is a closure over art that is already in memory.
        loader = DataLoader(
            _Steps(self.make),
            batch_size=None,
            sampler=cast("Iterator[int]", count(step)),  # torch asks for no length, its types do
            num_workers=self.number,
            prefetch_factor=_AHEAD,
            multiprocessing_context="fork",
        )
        return iter(loader)
