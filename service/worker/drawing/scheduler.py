"""Which candidates of which run enter which free rows, and which rows leave. Pure bookkeeping.

Runs enter in the order they came, in parts where the free rows do not hold all their candidates.
Knows no torch, no prompt and no clock: the time is passed in.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.worker.run import Run


@dataclass(frozen=True, slots=True)
class Entry:
    """Candidates of one run that shall enter now."""

    run: Run
    candidates: tuple[int, ...]


class Scheduler:
    """The runs of one batch. What waits and what is in which row, each run carries itself."""

    def __init__(self) -> None:
        self._runs: dict[Run, None] = {}  # in the order they came
        self._owners: dict[int, Run] = {}  # by row

    @property
    def num_busy(self) -> int:
        """Rows in use."""
        return len(self._owners)

    @property
    def runs(self) -> list[Run]:
        """All of them, the oldest first."""
        return list(self._runs)

    @property
    def running(self) -> list[Run]:
        """Runs that have rows, the oldest first."""
        return [run for run in self._runs if run.rows]

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: Run) -> None:
        """Let all candidates of a run wait for rows that have not been drawn before.

        ValueError for one that is here already.
        """
        if run in self._runs:
            raise ValueError(f"{run.id} is here already")
        run.waiting = list(run.candidates[run.num_drawn :])
        self._runs[run] = None

    def entries(self, num_free: int) -> list[Entry]:
        """What shall enter into so many free rows; `enter` makes each of them true."""
        entries = []
        for run in self._runs:
            if num_free <= 0:
                break
            if run.waiting:
                entries.append(Entry(run, tuple(run.waiting[:num_free])))
                num_free -= len(entries[-1].candidates)
        return entries

    def enter(self, entry: Entry, rows: Sequence[int]) -> None:
        """Note that the entry's candidates are in `rows`, in order."""
        for row, candidate in zip(rows, entry.candidates, strict=True):
            entry.run.waiting.remove(candidate)
            entry.run.rows[row] = candidate
            self._owners[row] = entry.run

    def leave(self, rows: Iterable[int]) -> dict[Run, dict[int, int]]:
        """Rows that have all their codes: run → {row: candidate}. A run without any more goes."""
        left: dict[Run, dict[int, int]] = {}
        for row in rows:
            run = self._owners.pop(row)
            left.setdefault(run, {})[row] = run.rows.pop(row)
            if not run.rows and not run.waiting:
                del self._runs[run]
        return left

    def remove(self, run: Run) -> list[int]:
        """Forget a run, known or not; returns the rows to evict."""
        self._runs.pop(run, None)
        rows = sorted(run.rows)
        for row in rows:
            del self._owners[row]
        run.rows.clear()
        run.waiting.clear()
        return rows

    def late(self, now: float) -> list[Run]:
        """Runs whose deadline has come."""
        return [run for run in self._runs if run.deadline <= now]

    def restart(self) -> None:
        """The batch is lost: what was in rows waits again, in its old place."""
        for run in self._runs:
            for candidate in run.rows.values():
                insort(run.waiting, candidate)
            run.rows.clear()
        self._owners.clear()
