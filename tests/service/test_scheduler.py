from __future__ import annotations

import random

import pytest

from service.worker.drawing.scheduler import Entry, Scheduler
from service.worker.run import Run
from tests.service.runs import make_run


def _runs(*sizes: int) -> tuple[Scheduler, list[Run]]:
    """A scheduler with runs of so many candidates."""
    scheduler, runs = Scheduler(), [make_run(num_candidates=size) for size in sizes]
    for run in runs:
        scheduler.add(run)
    return scheduler, runs


def _fill(scheduler: Scheduler, free: list[int]) -> list[Entry]:
    """Let everything enter that may, into the lowest free rows."""
    entries = scheduler.entries(len(free))
    for entry in entries:
        rows = [free.pop(0) for _ in entry.candidates]
        scheduler.enter(entry, rows)
    return entries


def test_runs_enter_in_the_order_they_came() -> None:
    scheduler, (a, b, c) = _runs(2, 1, 3)
    assert scheduler.entries(6) == [Entry(a, (0, 1)), Entry(b, (0,)), Entry(c, (0, 1, 2))]


def test_a_run_larger_than_the_free_rows_enters_in_parts() -> None:
    scheduler, (big, small) = _runs(5, 1)
    free = [0, 1]
    assert _fill(scheduler, free) == [Entry(big, (0, 1))]
    assert scheduler.leave([1]) == {big: {1: 1}}
    assert _fill(scheduler, [1]) == [Entry(big, (2,))]
    assert big.waiting == [3, 4]
    scheduler.leave([0, 1])
    assert _fill(scheduler, [0, 1, 2]) == [Entry(big, (3, 4)), Entry(small, (0,))]


def test_a_run_brings_its_own_range_of_candidates() -> None:
    scheduler, part = Scheduler(), make_run(num_candidates=9, candidates=range(4, 7))
    scheduler.add(part)
    assert _fill(scheduler, [2, 3]) == [Entry(part, (4, 5))]
    assert (part.rows, part.waiting) == ({2: 4, 3: 5}, [6])


def test_no_free_rows_no_entries() -> None:
    scheduler, _ = _runs(1)
    assert scheduler.entries(0) == []


def test_a_run_may_not_come_twice() -> None:
    scheduler, (run,) = _runs(1)
    with pytest.raises(ValueError, match="already"):
        scheduler.add(run)


def test_removing_gives_the_rows_and_takes_what_waits() -> None:
    scheduler, (run,) = _runs(3)
    _fill(scheduler, [4, 7])
    assert scheduler.remove(run) == [4, 7]
    assert scheduler.num_busy == len(run.waiting) == len(scheduler) == 0
    assert scheduler.remove(run) == []


def test_late_runs_are_told_by_the_given_time() -> None:
    scheduler, soon, later = Scheduler(), make_run(deadline=10.0), make_run(deadline=20.0)
    scheduler.add(soon)
    scheduler.add(later)
    assert scheduler.late(9.9) == []
    assert scheduler.late(10.0) == [soon]


def test_a_restart_puts_rows_back_in_their_old_order() -> None:
    scheduler, (a, b) = _runs(3, 2)
    _fill(scheduler, [0, 1, 2, 3])
    scheduler.leave([1])
    scheduler.restart()
    assert scheduler.num_busy == 0
    assert scheduler.entries(9) == [Entry(a, (0, 2)), Entry(b, (0, 1))]


def test_a_run_without_rows_and_candidates_is_gone() -> None:
    scheduler, (run,) = _runs(1)
    _fill(scheduler, [0])
    assert scheduler.runs == scheduler.running == [run]
    scheduler.leave([0])
    assert scheduler.runs == []


class _Simulation:
    """Random arrivals, ends, cancellations and deadlines on a batch of `capacity` rows."""

    def __init__(self, seed: int, capacity: int) -> None:
        self.random = random.Random(seed)
        self.scheduler = Scheduler()
        self.capacity = capacity
        self.rows: dict[int, tuple[Run, int]] = {}
        self.runs: list[Run] = []
        self.done: dict[Run, list[int]] = {}
        self.gone: set[Run] = set()
        self.first_entries: list[Run] = []
        self.now = 0.0

    def arrive(self) -> None:
        size = self.random.choice([1, 1, 2, 4, 16, 40])
        deadline = self.now + self.random.choice([5, 50, 5000])
        self.runs.append(make_run(num_candidates=size, deadline=deadline))
        self.scheduler.add(self.runs[-1])

    def enter(self) -> None:
        free = [row for row in range(self.capacity) if row not in self.rows]
        for entry in self.scheduler.entries(len(free)):
            rows = [free.pop(0) for _ in entry.candidates]
            if 0 in entry.candidates:
                self.first_entries.append(entry.run)
            for row, candidate in zip(rows, entry.candidates, strict=True):
                assert row not in self.rows
                self.rows[row] = (entry.run, candidate)
            self.scheduler.enter(entry, rows)
        assert len(self.rows) == self.scheduler.num_busy <= self.capacity
        assert not free or not any(run.waiting for run in self.scheduler.runs)

    def end_some(self) -> None:
        ended = [row for row in self.rows if self.random.random() < 0.3]
        for run, rows in self.scheduler.leave(ended).items():
            for row, candidate in rows.items():
                assert self.rows.pop(row) == (run, candidate)
                self.done.setdefault(run, []).append(candidate)

    def remove(self, run: Run) -> None:
        rows = self.scheduler.remove(run)
        assert set(rows) == {row for row, (owner, _) in self.rows.items() if owner is run}
        for row in rows:
            del self.rows[row]
        self.gone.add(run)

    def step(self, may_arrive: bool) -> None:
        self.now += 1
        if may_arrive:
            for _ in range(self.random.choice([0, 0, 1, 1, 2])):
                self.arrive()
        for run in self.scheduler.late(self.now):
            self.remove(run)
        if self.random.random() < 0.05 and self.scheduler.runs:
            self.remove(self.random.choice(self.scheduler.runs))
        if self.random.random() < 0.002:
            self.rows.clear()
            self.scheduler.restart()
        self.enter()
        self.end_some()


@pytest.mark.parametrize("seed", range(4))
def test_ten_thousand_arrivals_lose_and_repeat_nothing(seed: int) -> None:
    simulation = _Simulation(seed, capacity=32)
    while len(simulation.runs) < 2_500:
        simulation.step(may_arrive=True)
    while len(simulation.scheduler):
        simulation.step(may_arrive=False)
    for run in simulation.runs:
        candidates = simulation.done.get(run, [])
        assert len(candidates) == len(set(candidates))
        assert run in simulation.gone or sorted(candidates) == list(run.candidates)
    entered = set(simulation.first_entries)
    assert list(dict.fromkeys(simulation.first_entries)) == [
        run for run in simulation.runs if run in entered
    ]
