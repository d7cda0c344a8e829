"""A table of an evaluation: for people as Markdown, for programs as JSON.

A value of several seeds is shown as mean ± deviation. Knows nothing of what is in it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A row's cell: words, one number, one number a seed, or nothing that can be said.
Cell = str | float | Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns, and what a reader should know of them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Under its title."""
        lines = [_line(self.columns), "|" + "---|" * len(self.columns)]
        lines += [_line(map(shown, row)) for row in self.rows]
        note = ["", self.note] if self.note else []
        return "\n".join([f"## {self.title}", "", *lines, *note, ""])

    def record(self) -> dict[str, Any]:
        """For everything that reads JSON; of several seeds all numbers."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "note": self.note, "rows": rows}


def shown(cell: Cell) -> str:
    """As a reader sees it."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int | float):
        return f"{cell:.4g}"
    if len(cell) == 1:
        return f"{cell[0]:.4g}"
    mean, deviation = statistics.fmean(cell), statistics.stdev(cell)
    return f"{mean:.4g} ± {deviation:.2g}"


def over_seeds(of_seeds: Sequence[Mapping[str, float | None]]) -> dict[str, Cell]:
    """Each figure's numbers, one a seed; None where a seed has none."""
    merged: dict[str, Cell] = {}
    for key in of_seeds[0]:
        numbers = [value for figures in of_seeds if (value := figures.get(key)) is not None]
        merged[key] = numbers if len(numbers) == len(of_seeds) else None
    return merged


def mean(cell: Cell) -> float | None:
    """A cell's number for a plot."""
    if isinstance(cell, int | float):
        return float(cell)
    return None if cell is None or isinstance(cell, str) else statistics.fmean(cell)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
