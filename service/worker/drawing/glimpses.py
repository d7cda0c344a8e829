"""Which partial pictures of a run are due, and of what: its first candidate stands for all.

Of k partial pictures the last ones show the finished candidate coarse to fine, as far as the model
has coarser views, and the first ones the rows so far, evenly over the steps; one at least does. So
a model without views shows rows only. Knows no batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from models.configs.preset import Preset
from models.configs.views import View
from service.jobs import query
from service.worker.handover import Glimpse
from service.worker.run import Run


class Glimpses:
    """Of the runs of one model."""

    def __init__(self, preset: Preset) -> None:
        self._num_steps = preset.num_steps
        self._preset = preset

    def is_due(self, run: Run, num_drawn: int) -> bool:
        """Whether the rows of `num_drawn` steps are the run's next partial picture."""
        num_of_rows = run.job.partial_images - len(self._at_the_end(run))
        if run.num_glimpses >= num_of_rows:
            return False
        due = self._num_steps * (run.num_glimpses + 1) // (num_of_rows + 1)
        return num_drawn >= max(due, 1)

    def of_rows(self, run: Run, codes: Tensor, num_drawn: int) -> Glimpse:
        """The next partial picture: codes so far, [1, T, D]."""
        run.num_glimpses += 1
        return Glimpse(run, run.num_glimpses - 1, 0, codes, num_drawn)

    def of_finished(self, run: Run, codes: Mapping[int, Tensor]) -> Iterator[Glimpse]:
        """The last ones, if the first candidate is among those that have all codes, [T, D] each."""
        if 0 not in codes:
            return
        for view in self._at_the_end(run):
            glimpse = self.of_rows(run, codes[0][None, :, : view.depth], self._num_steps)
            yield replace(glimpse, query=query(view.parameter, view.value))

    def _at_the_end(self, run: Run) -> list[View]:
        is_enhanced = bool(run.job.recipe.enhance)
        coarser = self._preset.views_of(is_enhanced=is_enhanced)[:-1]
        count = min(max(run.job.partial_images - 1, 0), len(coarser))
        return [coarser[number * len(coarser) // count] for number in range(count)]
