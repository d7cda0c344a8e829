"""How steps and pictures share a CPU's threads.

Both could use every core, and two OpenMP teams on the same cores hold each other up: a barrier
waits for a thread that the other team has displaced, and libgomp gives up spinning as soon as there
are more team threads than cores, which makes a small model's steps take twice as long. So a worker
has one team only. It is the engine's, it is smaller while pictures are made and while other
processes want its cores, and pictures are made by threads without a team. Knows no jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from models.drawing.shapes import Shapes
from models.pipeline import Pipeline
from service.worker.crowding import Crowding


def use_threads(count: int) -> None:
    """Give torch so many threads when this thread calls it."""
    torch.get_num_threads()  # the first look in a thread takes over what another thread set last
    torch.set_num_threads(count)


@dataclass(slots=True)
class Cores:
    """Who uses them now: a worker has one, for the steps and pictures of all its models."""

    crowding: Crowding = field(default_factory=Crowding)
    is_stepping: bool = False
    is_making: bool = False
    step_threads: int = 0  # of the thread that steps, as set last


class CpuShare:
    """The split for one model. `total` is 0 where the work is not a CPU's; then nothing is ever
    set.
    """

    def __init__(self, total: int, *, can_split: bool, cores: Cores | None = None) -> None:
        self.total = total
        self._can_split = can_split
        self._cores = cores or Cores()

    @classmethod
    def whole(cls, pipeline: Pipeline, cores: Cores | None = None) -> CpuShare:
        """All of torch's threads of now, for work that comes one after the other."""
        is_cpu = pipeline.options.device.type == "cpu"
        return cls(torch.get_num_threads() if is_cpu else 0, can_split=False, cores=cores)

    @classmethod
    def of(cls, pipeline: Pipeline, shapes: Shapes, cores: Cores | None = None) -> CpuShare:
        """For a model that steps at these shapes. Blocks while it tries a smaller team."""
        share = cls.whole(pipeline, cores)
        if share.total > 1:  # one thread has nothing to give away, and nobody to wait for
            share._can_split = pipeline.keeps_bits(shapes, share._fewer)
        return share

    @property
    def _fewer(self) -> int:
        """Threads of a step beside pictures in the making, or beside others' work."""
        return self.total - self.total // 2

    def for_step(self) -> None:
        """Call on the thread that steps, before each step."""
        self._cores.is_stepping = True
        if self.total:
            threads = self._team()
            if threads != self._cores.step_threads:
                use_threads(threads)
                self._cores.step_threads = threads

    def _team(self) -> int:
        """Threads for the step that comes."""
        if not self._can_split:
            return self.total
        cores = self._cores
        if cores.is_making:
            cores.crowding.rest()
            return self._fewer
        return self._fewer if cores.crowding.look(self.total) else self.total

    def rest(self) -> None:
        """Call on the thread that steps, when there is nothing to step."""
        self._cores.is_stepping = False
        self._cores.crowding.rest()

    @contextmanager
    def for_pictures(self) -> Iterator[int]:
        """Call on the thread that has pictures made; gives how many threads may make them."""
        self._cores.is_making = True
        try:
            yield max(1, self.total // 2 if self._cores.is_stepping else self.total)
        finally:
            self._cores.is_making = False
