"""Seconds a picture at so many pictures at once: the form of the RQ paper's figure 4.

Times the loop that serves and stage 1, with the model's own filters. Knows no other figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from models.drawing.sampling import RowParams
from models.measure.comparison import Timing, timed
from models.measure.tables.table import Table
from models.pipeline import Pipeline


def timings(pipeline: Pipeline, name: str, batches: Sequence[int]) -> list[Timing]:
    """One for each number of pictures at once."""
    sampling, levels = pipeline.preset.sampling, pipeline.preset.codes_per_level
    filters = sampling.temperature, sampling.top_k, sampling.top_p
    return [
        timed(pipeline, name, [RowParams(1, row, *filters).spread(levels) for row in range(num)])
        for num in batches
    ]


def speed_table(found: Iterable[Timing]) -> Table:
    """A row for each model and batch."""
    rows = [(t.setting, f"{t.rows}", t.codes_s, t.pixels_s, t.picture_s) for t in found]
    columns = ("model", "at once", "codes, s", "pixels, s", "s a picture")
    return Table("Seconds a picture", columns, tuple(rows), "Ranking is not included.")
