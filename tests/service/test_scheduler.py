from __future__ import annotations

import random

import pytest

from service.worker.drawing.scheduler import Entry, Scheduler

NEVER = float("inf")


def _fill(scheduler: Scheduler, free: list[int]) -> list[Entry]:
    """Let everything enter that may, into the lowest free rows."""
    entries = scheduler.entries(len(free))
    for entry in entries:
        rows = [free.pop(0) for _ in entry.candidates]
        scheduler.enter(entry, rows)
    return entries


def test_runs_enter_in_the_order_they_came() -> None:
    scheduler = Scheduler()
    for run_id, count in (("a", 2), ("b", 1), ("c", 3)):
        scheduler.add(run_id, count, NEVER)
    assert scheduler.entries(6) == [Entry("a", (0, 1)), Entry("b", (0,)), Entry("c", (0, 1, 2))]


def test_a_run_larger_than_the_free_rows_enters_in_parts() -> None:
    scheduler = Scheduler()
    scheduler.add("big", 5, NEVER)
    scheduler.add("small", 1, NEVER)
    free = [0, 1]
    assert _fill(scheduler, free) == [Entry("big", (0, 1))]
    assert scheduler.leave([1]) == {"big": {1: 1}}
    assert _fill(scheduler, [1]) == [Entry("big", (2,))]
    assert scheduler.waiting_of("big") == 2
    scheduler.leave([0, 1])
    assert _fill(scheduler, [0, 1, 2]) == [Entry("big", (3, 4)), Entry("small", (0,))]


def test_no_free_rows_no_entries() -> None:
    scheduler = Scheduler()
    scheduler.add("a", 1, NEVER)
    assert scheduler.entries(0) == []


def test_a_run_may_not_come_twice() -> None:
    scheduler = Scheduler()
    scheduler.add("a", 1, NEVER)
    with pytest.raises(ValueError, match="already"):
        scheduler.add("a", 1, NEVER)


def test_removing_gives_the_rows_and_takes_what_waits() -> None:
    scheduler = Scheduler()
    scheduler.add("a", 3, NEVER)
    _fill(scheduler, [4, 7])
    assert scheduler.remove("a") == [4, 7]
    assert scheduler.num_busy == scheduler.num_waiting == len(scheduler) == 0
    assert scheduler.remove("a") == []


def test_late_runs_are_told_by_the_given_time() -> None:
    scheduler = Scheduler()
    scheduler.add("soon", 1, 10.0)
    scheduler.add("later", 1, 20.0)
    assert scheduler.late(9.9) == []
    assert scheduler.late(10.0) == ["soon"]


def test_a_restart_puts_rows_back_in_their_old_order() -> None:
    scheduler = Scheduler()
    scheduler.add("a", 3, NEVER)
    scheduler.add("b", 2, NEVER)
    _fill(scheduler, [0, 1, 2, 3])
    scheduler.leave([1])
    scheduler.restart()
    assert scheduler.num_busy == 0
    assert scheduler.entries(9) == [Entry("a", (0, 2)), Entry("b", (0, 1))]


def test_a_run_without_rows_and_candidates_is_gone() -> None:
    scheduler = Scheduler()
    scheduler.add("a", 1, NEVER)
    _fill(scheduler, [0])
    assert "a" in scheduler
    scheduler.leave([0])
    assert "a" not in scheduler


class _Simulation:
    """Random arrivals, ends, cancellations and deadlines on a batch of `capacity` rows."""

    def __init__(self, seed: int, capacity: int) -> None:
        self.random = random.Random(seed)
        self.scheduler = Scheduler()
        self.capacity = capacity
        self.rows: dict[int, tuple[str, int]] = {}
        self.sizes: dict[str, int] = {}
        self.done: dict[str, list[int]] = {}
        self.gone: set[str] = set()
        self.first_entries: list[str] = []
        self.now = 0.0

    def arrive(self) -> None:
        run_id = f"run{len(self.sizes)}"
        size = self.random.choice([1, 1, 2, 4, 16, 40])
        deadline = self.now + self.random.choice([5, 50, 5000])
        self.sizes[run_id] = size
        self.scheduler.add(run_id, size, deadline)

    def enter(self) -> None:
        free = [row for row in range(self.capacity) if row not in self.rows]
        for entry in self.scheduler.entries(len(free)):
            rows = [free.pop(0) for _ in entry.candidates]
            if 0 in entry.candidates:
                self.first_entries.append(entry.run_id)
            for row, candidate in zip(rows, entry.candidates, strict=True):
                assert row not in self.rows
                self.rows[row] = (entry.run_id, candidate)
            self.scheduler.enter(entry, rows)
        assert len(self.rows) == self.scheduler.num_busy <= self.capacity
        assert not free or self.scheduler.num_waiting == 0

    def end_some(self) -> None:
        ended = [row for row in self.rows if self.random.random() < 0.3]
        for run_id, rows in self.scheduler.leave(ended).items():
            for row, candidate in rows.items():
                assert self.rows.pop(row) == (run_id, candidate)
                self.done.setdefault(run_id, []).append(candidate)

    def remove(self, run_id: str) -> None:
        rows = self.scheduler.remove(run_id)
        assert set(rows) == {row for row, (owner, _) in self.rows.items() if owner == run_id}
        for row in rows:
            del self.rows[row]
        self.gone.add(run_id)

    def step(self, may_arrive: bool) -> None:
        self.now += 1
        if may_arrive:
            for _ in range(self.random.choice([0, 0, 1, 1, 2])):
                self.arrive()
        for run_id in self.scheduler.late(self.now):
            self.remove(run_id)
        if self.random.random() < 0.05:
            alive = [run_id for run_id in self.sizes if run_id in self.scheduler]
            if alive:
                self.remove(self.random.choice(alive))
        if self.random.random() < 0.002:
            self.rows.clear()
            self.scheduler.restart()
        self.enter()
        self.end_some()


@pytest.mark.parametrize("seed", range(4))
def test_ten_thousand_arrivals_lose_and_repeat_nothing(seed: int) -> None:
    simulation = _Simulation(seed, capacity=32)
    while len(simulation.sizes) < 2_500:
        simulation.step(may_arrive=True)
    while len(simulation.scheduler):
        simulation.step(may_arrive=False)
    for run_id, size in simulation.sizes.items():
        candidates = simulation.done.get(run_id, [])
        assert len(candidates) == len(set(candidates))
        assert run_id in simulation.gone or sorted(candidates) == list(range(size))
    order = [int(run_id.removeprefix("run")) for run_id in dict.fromkeys(simulation.first_entries)]
    assert order == sorted(order)
