"""Everything goes wrong at once: each accepted job ends once, with the bytes of an undisturbed run.

`pytest -m chaos tests/chaos` sends 20,000 jobs to workers of one release and as many to those of
two; CHAOS_JOBS, CHAOS_SEED and CHAOS_REPORT (a folder) change how many, in which order, and where
the reports go. A small run is among the usual tests.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet, Size
from tests.chaos.orders import Mix
from tests.chaos.run import Findings, run
from tests.chaos.troubles import Troubles

NUM_JOBS = int(os.environ.get("CHAOS_JOBS", "20000"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
BRIEF = ("worker killed", "worker cut off beyond its lease", "Redis killed")


@contextmanager
def started(folder: Path, size: Size) -> Iterator[Fleet]:
    fleet = Fleet(folder, size)
    fleet.start()
    try:
        yield fleet
    finally:
        fleet.stop()


def check(fleet: Fleet, troubles: Troubles, num_jobs: int, mix: Mix, report: Path) -> Findings:
    """Run it; write the report; no job may be amiss, and all that should go wrong has."""
    findings = run(fleet, troubles, num_jobs, SEED, mix)
    faults = findings.faults()
    written = json.dumps(findings.report(fleet.size.lease_s), indent=2)
    report.write_text(written)
    assert not any(faults.values()), (faults, written)
    assert troubles.have_all_come
    assert len(findings.ended) + findings.num_left >= num_jobs
    assert findings.watch.num_lost, written  # what lasts longer than a lease has met some
    assert findings.num_messages or not mix.told
    return findings


@pytest.mark.chaos
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("name", "size", "mix"),
    [
        ("one-release", Size(), Mix()),
        ("two-releases", Size(num_workers=2, num_old=1), Mix(told=0.0)),
    ],
)
def test_each_job_ends_once_whatever_happens(
    tmp_path: Path, name: str, size: Size, mix: Mix
) -> None:
    reports = Path(os.environ.get("CHAOS_REPORT", tmp_path))
    with started(tmp_path, size) as fleet:
        troubles = Troubles(fleet, random.Random(SEED))
        findings = check(fleet, troubles, NUM_JOBS, mix, reports / f"{name}.json")
    missed = findings.missed_bars(size.lease_s)
    assert not any(missed.values()), missed


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_few_jobs_end_once_whatever_happens(tmp_path: Path) -> None:
    mix = Mix(harmful=0.0, left=0.03)
    with started(tmp_path, Size(num_workers=2, step_delay_s=0.002)) as fleet:
        troubles = Troubles(fleet, random.Random(SEED), (0.3, 0.6), BRIEF)
        check(fleet, troubles, min(NUM_JOBS, 60), mix, tmp_path / "report.json")
