"""Which candidates of which run enter which free rows, and which rows leave. Pure bookkeeping.

A run is one attempt at a job. Runs enter in the order they came, in parts where the free rows do
not hold all their candidates. Knows no torch, no prompt and no clock: the time is passed in.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """Candidates of one run that shall enter now."""

    run_id: str
    candidates: tuple[int, ...]


@dataclass(slots=True)
class _Run:
    deadline: float
    waiting: list[int]  # candidates without a row, ascending
    rows: dict[int, int] = field(default_factory=dict)  # row → candidate


class Scheduler:
    """The runs of one batch: what waits and what is in which row."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._owners: dict[int, str] = {}  # row → run

    @property
    def num_waiting(self) -> int:
        """Candidates without a row."""
        return sum(len(run.waiting) for run in self._runs.values())

    @property
    def num_busy(self) -> int:
        """Rows in use."""
        return len(self._owners)

    @property
    def running(self) -> list[str]:
        """Runs that have rows, the oldest first."""
        return [run_id for run_id, run in self._runs.items() if run.rows]

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run_id: str, num_candidates: int, deadline: float) -> None:
        """Let a run wait for rows. `deadline` is on the clock that `late` is asked with."""
        if run_id in self._runs:
            raise ValueError(f"{run_id} is here already")
        self._runs[run_id] = _Run(deadline, list(range(num_candidates)))

    def entries(self, num_free: int) -> list[Entry]:
        """What shall enter into so many free rows; `enter` makes each of them true."""
        entries = []
        for run_id, run in self._runs.items():
            if num_free <= 0:
                break
            if run.waiting:
                entries.append(Entry(run_id, tuple(run.waiting[:num_free])))
                num_free -= len(entries[-1].candidates)
        return entries

    def enter(self, entry: Entry, rows: Sequence[int]) -> None:
        """Note that the entry's candidates are in `rows`, in order."""
        run = self._runs[entry.run_id]
        for row, candidate in zip(rows, entry.candidates, strict=True):
            run.waiting.remove(candidate)
            run.rows[row] = candidate
            self._owners[row] = entry.run_id

    def leave(self, rows: Iterable[int]) -> dict[str, dict[int, int]]:
        """Rows that have all their codes: run → {row: candidate}. A run without any more goes."""
        left: dict[str, dict[int, int]] = {}
        for row in rows:
            run_id = self._owners.pop(row)
            run = self._runs[run_id]
            left.setdefault(run_id, {})[row] = run.rows.pop(row)
            if not run.rows and not run.waiting:
                del self._runs[run_id]
        return left

    def remove(self, run_id: str) -> list[int]:
        """Forget a run, known or not; returns the rows to evict."""
        run = self._runs.pop(run_id, None)
        rows = sorted(run.rows) if run else []
        for row in rows:
            del self._owners[row]
        return rows

    def late(self, now: float) -> list[str]:
        """Runs whose deadline has come."""
        return [run_id for run_id, run in self._runs.items() if run.deadline <= now]

    def restart(self) -> None:
        """The batch is lost: what was in rows waits again, in its old place."""
        for run in self._runs.values():
            for candidate in run.rows.values():
                insort(run.waiting, candidate)
            run.rows.clear()
        self._owners.clear()

    def rows_of(self, run_id: str) -> dict[int, int]:
        """Row → candidate of one run."""
        run = self._runs.get(run_id)
        return dict(run.rows) if run else {}

    def waiting_of(self, run_id: str) -> int:
        """Candidates of one run without a row."""
        run = self._runs.get(run_id)
        return len(run.waiting) if run else 0
