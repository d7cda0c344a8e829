"""What the chart's autoscaling would do to a day of arrivals: waits, and worker-hours paid for.

Replays arrivals against the rule of the ScaledObject (KEDA between none and some workers, a
HorizontalPodAutoscaler above) with a cold start and a service time. Knows no Kubernetes and no
Redis. Run it with your own arrivals and figures: `python deploy/scaling.py --help`.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

_HPA_SYNC_S = 15  # how often Kubernetes looks by default
_TOLERANCE = 0.1  # ratios this close to 1 change nothing
_UP_PERIOD_S = 15
_DOWN_PERIOD_S = 60


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job: seconds since the start, and how many candidates it wants."""

    at_s: float
    candidates: int


@dataclass(frozen=True, slots=True)
class Rule:
    """The autoscaling values of the chart, by the same names. `counts_running`: what is scaled on
    is jobs that wait or run, as the chart does; without it, only those that wait.
    """

    min_replicas: int = 0
    max_replicas: int = 4
    jobs_per_worker: int = 4
    polling_s: int = 5
    cooldown_s: int = 600
    scale_down_window_s: int = 300
    scale_up_pods: int = 4
    counts_running: bool = True


@dataclass(frozen=True, slots=True)
class Machine:
    """A worker: its rows, seconds that a candidate stays in one, seconds until it is ready."""

    rows: int = 64
    row_s: float = 2.5
    cold_start_s: int = 60


@dataclass(frozen=True, slots=True)
class Report:
    """Seconds from arrival to the first row, and what it cost."""

    jobs: int
    p50_s: float
    p95_s: float
    p99_s: float
    longest_s: float
    worker_hours: float
    starts: int


@dataclass(slots=True)
class _Worker:
    ready_s: float
    free: int
    leaving: bool = False
    busy: list[tuple[float, int]] = field(default_factory=list)  # heap: (end, rows)


@dataclass(slots=True)
class _Waiting:
    at_s: float
    left: int
    has_begun: bool = False


class Simulation:
    """One run, second by second. `replay` is its only verb."""

    def __init__(self, rule: Rule, machine: Machine) -> None:
        self._rule = rule
        self._machine = machine
        self._workers: list[_Worker] = []
        self._queue: deque[_Waiting] = deque()
        self._ends: list[float] = []  # heap: when running jobs end
        self._waits: list[float] = []
        self._advice: deque[tuple[int, int]] = deque()  # (time, replicas wanted)
        self._changes: deque[tuple[int, int]] = deque()  # (time, replicas before)
        self._last_active = -math.inf
        self._paid_s = 0
        self._starts = 0

    def replay(self, arrivals: Iterable[Arrival]) -> Report:
        """Let all jobs come and run to their end."""
        coming = deque(sorted(arrivals, key=lambda arrival: arrival.at_s))
        self._resize(0, self._rule.min_replicas)
        now = 0
        while coming or self._queue or self._ends:
            while coming and coming[0].at_s <= now:
                arrival = coming.popleft()
                self._queue.append(_Waiting(arrival.at_s, arrival.candidates))
            self._work(now)
            self._scale(now)
            self._paid_s += len(self._workers)
            now += 1
        return self._report()

    def _work(self, now: int) -> None:
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        for worker in self._workers:
            while worker.busy and worker.busy[0][0] <= now:
                worker.free += heapq.heappop(worker.busy)[1]
        if any(worker.leaving for worker in self._workers):
            self._workers = [w for w in self._workers if w.busy or not w.leaving]
        if not self._queue:
            return
        ready = [w for w in self._workers if w.ready_s <= now and not w.leaving]
        for worker in sorted(ready, key=lambda w: -w.free):
            self._fill(worker, now)

    def _fill(self, worker: _Worker, now: int) -> None:
        while worker.free and self._queue:
            job = self._queue[0]
            rows = min(worker.free, job.left)
            if not job.has_begun:
                self._waits.append(max(now - job.at_s, 0.0))
                job.has_begun = True
            worker.free -= rows
            job.left -= rows
            end = now + self._machine.row_s
            heapq.heappush(worker.busy, (end, rows))
            if job.left == 0:
                self._queue.popleft()
                heapq.heappush(self._ends, end)

    def _scale(self, now: int) -> None:
        jobs = len(self._queue) + (len(self._ends) if self._rule.counts_running else 0)
        staying = sum(not worker.leaving for worker in self._workers)
        if now % self._rule.polling_s == 0:
            if jobs > 0:
                self._last_active = now
            if staying == 0 and jobs > 0:
                self._resize(now, max(1, self._rule.min_replicas))
                return
            idle_s = now - self._last_active
            if self._rule.min_replicas == 0 and staying and idle_s >= self._rule.cooldown_s:
                self._resize(now, 0)
                return
        if now % _HPA_SYNC_S == 0 and staying > 0:
            self._resize(now, self._wanted(now, jobs, staying))

    def _wanted(self, now: int, jobs: int, staying: int) -> int:
        rule = self._rule
        ratio = jobs / (rule.jobs_per_worker * staying)
        wanted = staying
        if abs(ratio - 1) > _TOLERANCE:
            wanted = math.ceil(jobs / rule.jobs_per_worker)
        wanted = min(max(wanted, 1, rule.min_replicas), rule.max_replicas)
        self._advice.append((now, wanted))
        while self._advice[0][0] <= now - rule.scale_down_window_s:
            self._advice.popleft()
        if wanted > staying:
            highest = self._before(now, _UP_PERIOD_S, staying) + rule.scale_up_pods
            return min(wanted, max(highest, staying))
        kept = max(advice for _, advice in self._advice)
        lowest = math.ceil(self._before(now, _DOWN_PERIOD_S, staying) / 2)
        return min(staying, max(kept, lowest))

    def _before(self, now: int, period_s: int, staying: int) -> int:
        """Replicas at the start of a policy's period."""
        while self._changes and self._changes[0][0] <= now - _DOWN_PERIOD_S:
            self._changes.popleft()
        for at_s, before in self._changes:
            if at_s > now - period_s:
                return before
        return staying

    def _resize(self, now: int, replicas: int) -> None:
        staying = [worker for worker in self._workers if not worker.leaving]
        if replicas == len(staying):
            return
        self._changes.append((now, len(staying)))
        for worker in sorted(staying, key=lambda w: (w.ready_s <= now, len(w.busy)))[
            : max(len(staying) - replicas, 0)
        ]:
            worker.leaving = True
        for _ in range(replicas - len(staying)):
            cold_s = self._machine.cold_start_s if now else 0
            self._workers.append(_Worker(now + cold_s, self._machine.rows))
            self._starts += 1

    def _report(self) -> Report:
        waits = sorted(self._waits)

        def quantile(part: float) -> float:
            return waits[min(int(part * len(waits)), len(waits) - 1)] if waits else 0.0

        return Report(
            jobs=len(waits),
            p50_s=quantile(0.5),
            p95_s=quantile(0.95),
            p99_s=quantile(0.99),
            longest_s=waits[-1] if waits else 0.0,
            worker_hours=self._paid_s / 3600,
            starts=self._starts,
        )


def simulate(arrivals: Iterable[Arrival], rule: Rule, machine: Machine) -> Report:
    """Replay the arrivals; waits and worker-hours."""
    return Simulation(rule, machine).replay(arrivals)


def office_day(
    seed: int = 1, peak_per_s: float = 2.0, burst: int = 120, candidates: int = 16
) -> Iterator[Arrival]:
    """24 hours: a quiet night with an odd job, a working day that peaks at 14:00, and at each full
    hour from 9 to 17 a burst of jobs within one minute.
    """
    chance = random.Random(seed)
    for second in range(86_400):
        hour = second / 3600
        day = math.exp(-(((hour - 14) / 3.0) ** 2))
        rate = peak_per_s * day + 0.0005
        if 9 <= hour < 18 and second % 3600 < 60:
            rate += burst / 60
        for _ in range(_poisson(chance, rate)):
            yield Arrival(second + chance.random(), candidates)


def _poisson(chance: random.Random, rate: float) -> int:
    limit, product, count = math.exp(-rate), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def read_arrivals(path: Path) -> list[Arrival]:
    """Lines of `seconds candidates`."""
    pairs = (line.split() for line in path.read_text().splitlines() if line.strip())
    return [Arrival(float(at_s), int(candidates)) for at_s, candidates in pairs]


_HEAD = "  p50 s   p95 s   p99 s  longest  worker-hours  starts"


def row(report: Report) -> str:
    """One line of a table below `_HEAD`."""
    return (
        f"{report.p50_s:7.1f} {report.p95_s:7.1f} {report.p99_s:7.1f} {report.longest_s:8.0f} "
        f"{report.worker_hours:13.1f} {report.starts:7d}"
    )


def variations(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """The rule, and one change of it after another."""
    yield "as given", rule
    yield "on waiting jobs only", replace(rule, counts_running=False)
    for jobs in (1, 2, 8, 16):
        yield f"jobs per worker {jobs}", replace(rule, jobs_per_worker=jobs)
    for cooldown in (60, 300, 1800):
        yield f"cooldown {cooldown} s", replace(rule, cooldown_s=cooldown)
    for window in (60, 900):
        yield f"scale-down window {window} s", replace(rule, scale_down_window_s=window)
    yield "never below one worker", replace(rule, min_replicas=1)
    yield "always all workers", replace(rule, min_replicas=rule.max_replicas)


def main(arguments: list[str] | None = None) -> int:
    """Print the table for the given rule and its variations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrivals", type=Path, help="file with lines: seconds candidates")
    for kind in (Rule, Machine):
        for each in fields(kind):
            if each.name != "counts_running":
                name = "--" + each.name.replace("_", "-")
                parser.add_argument(name, type=type(each.default), default=each.default)
    given = vars(parser.parse_args(arguments))
    rule = Rule(**{f.name: given[f.name] for f in fields(Rule) if f.name in given})
    machine = Machine(**{f.name: given[f.name] for f in fields(Machine)})
    arrivals = read_arrivals(given["arrivals"]) if given["arrivals"] else list(office_day())
    sys.stdout.write(f"{'':28}{_HEAD}\n")
    for name, each in variations(rule):
        sys.stdout.write(f"{name:28}{row(simulate(arrivals, each, machine))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
