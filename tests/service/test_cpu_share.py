"""Who gets how many threads when. Everything that sets them runs on threads of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from models.pipeline import load
from service.worker.cpu_share import Cores, CpuShare, use_threads
from service.worker.crowding import Crowding


@pytest.fixture(autouse=True)
def _other_tests_threads() -> Iterator[None]:
    here = torch.get_num_threads()
    yield
    torch.set_num_threads(here)  # what new threads begin with


def _threads_after(*shares: CpuShare) -> list[int]:
    """torch's threads after one step with each share, all on one new thread."""

    def step_all() -> list[int]:
        counts = []
        for share in shares:
            share.for_step()
            counts.append(torch.get_num_threads())
        return counts

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(step_all).result()


def test_a_thread_keeps_its_own_count() -> None:
    here = torch.get_num_threads()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(use_threads, 3).result()
        other.submit(use_threads, 1).result()
        assert one.submit(torch.get_num_threads).result() == 3
        assert other.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == here


@pytest.mark.parametrize(("total", "alone", "shared"), [(1, 1, 1), (2, 2, 1), (3, 3, 2), (8, 8, 4)])
def test_steps_have_all_threads_until_pictures_are_made(
    total: int, alone: int, shared: int
) -> None:
    share = CpuShare(total, can_split=True)
    assert _threads_after(share) == [alone]
    with share.for_pictures() as num_makers:
        assert num_makers == max(1, total // 2)
        assert _threads_after(share) == [shared]
    assert _threads_after(share) == [alone]


def test_pictures_have_all_threads_while_nothing_steps() -> None:
    share = CpuShare(6, can_split=True)
    with share.for_pictures() as num_makers:
        assert num_makers == 6
    _threads_after(share)
    share.rest()
    with share.for_pictures() as num_makers:
        assert num_makers == 6


def test_the_team_stays_whole_where_fewer_threads_would_change_bits() -> None:
    share = CpuShare(4, can_split=False)
    with share.for_pictures():
        assert _threads_after(share) == [4]


def test_an_error_in_a_picture_gives_the_threads_back() -> None:
    share = CpuShare(4, can_split=True)
    with pytest.raises(ValueError, match="no picture"), share.for_pictures():
        raise ValueError("no picture")
    assert _threads_after(share) == [4]


def test_no_thread_is_touched_on_another_device() -> None:
    share = CpuShare(0, can_split=False)
    before = _threads_after(CpuShare(0, can_split=False))
    with share.for_pictures() as num_makers:
        assert num_makers == 1
        assert _threads_after(share) == before


def test_a_model_on_this_cpu_has_all_its_threads() -> None:
    with ThreadPoolExecutor(1, initializer=use_threads, initargs=(2,)) as executor:
        pipeline = load("tiny")
        shapes = executor.submit(pipeline.batch, 4).result().shapes
        share = executor.submit(CpuShare.of, pipeline, shapes).result()
        assert executor.submit(torch.get_num_threads).result() == 2
    assert share.total == 2


def test_steps_have_fewer_threads_while_others_want_the_cores() -> None:
    now = 0.0
    share = CpuShare(
        4, can_split=True, cores=Cores(Crowding(clock=lambda: now, cpu_clock=lambda: 2 * now))
    )
    assert _threads_after(share) == [4]
    now = 1.0  # of four cores, two were this process's
    assert _threads_after(share) == [2]
    now = 10.0
    assert _threads_after(share) == [4]
    with share.for_pictures():  # what passes now is not the team's
        now = 20.0
        assert _threads_after(share) == [2]
    assert _threads_after(share) == [4]


@pytest.mark.parametrize("package", ["service.worker", "service.settings", "models.pipeline"])
def test_threads_spin_for_a_short_time_only(package: str) -> None:
    script = f"import {package}, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    without = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    for wanted, expected in (({}, "20000"), ({"OMP_WAIT_POLICY": "active"}, "None")):
        told = subprocess.run(
            [sys.executable, "-c", script],
            env=without | wanted,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == expected
