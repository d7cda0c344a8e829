from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from models.pipeline import Pipeline, load
from models.stage2.kv_cache import CachedPrefix
from service.jobs import Expired, Failed
from service.worker.drawing.engine import Engine
from service.worker.handover import Left
from service.worker.run import LeaveReason, Span, TakenOut
from tests.service.engine_runs import (
    ROWS,
    BrokenOn,
    alone,
    codes_of,
    drawn,
    ended,
    engine_on,
    glimpses,
    left,
    run,
)
from tests.service.makers import make_job
from tests.service.runs import make_run


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load("tiny")


def test_one_job_is_drawn_as_the_loop_draws_it(pipeline: Pipeline) -> None:
    only = make_run(num_candidates=3, top_k=10)
    engine = engine_on(pipeline)
    engine.add(only)
    reports = run(engine)
    assert codes_of(reports, only) == alone(pipeline, only.job)
    assert (reports[0].num_entered, reports[0].num_joins) == (3, 0)
    assert engine.num_steps == pipeline.stage2.num_steps - 1  # the first code comes with the entry


def test_runs_share_steps_and_keep_their_codes(pipeline: Pipeline) -> None:
    runs = [
        make_run(prompt=f"thing {n}", seed=n, num_candidates=1 + n % 3, top_p=0.9) for n in range(6)
    ]
    engine = engine_on(pipeline)
    reports = []
    for each in runs:
        engine.add(each)
        reports.append(engine.step())
    reports += run(engine)
    assert sum(report.num_joins for report in reports) > 0
    for each in runs:
        assert codes_of(reports, each) == alone(pipeline, each.job)


def test_a_job_larger_than_the_batch_enters_in_parts(pipeline: Pipeline) -> None:
    big = make_run(num_candidates=2 * ROWS + 3)
    engine = engine_on(pipeline)
    engine.add(big)
    reports = run(engine)
    parts = [report.num_entered for report in reports if report.num_entered]
    assert parts == [ROWS, ROWS, 3]
    assert [span.phase for span in big.spans] == ["prefill", "drawing"]  # each of them once
    assert codes_of(reports, big) == alone(pipeline, big.job)
    assert [item.is_last for item in drawn(reports)] == [False, False, True]


def test_a_run_may_be_some_of_a_jobs_candidates(pipeline: Pipeline) -> None:
    job = make_job(num_candidates=6)
    part = make_run(job, candidates=range(2, 5))
    engine = engine_on(pipeline)
    engine.add(part)
    whole = alone(pipeline, job)
    assert codes_of(run(engine), part) == {candidate: whole[candidate] for candidate in (2, 3, 4)}
    assert part.codes_done == part.codes_total == 3 * pipeline.stage2.num_steps


def test_a_late_run_enters_at_the_next_step(pipeline: Pipeline) -> None:
    early, late = make_run(num_candidates=2), make_run(num_candidates=1)
    engine = engine_on(pipeline)
    engine.add(early)
    for _ in range(5):
        engine.step()
    engine.add(late)
    report = engine.step()
    assert (report.num_entered, report.num_joins) == (1, 1)
    assert list(late.rows.values()) == [0]
    assert engine.num_steps == 6


@pytest.mark.parametrize("reason", ["cancelled", "lost", "expired", "drained", "crashed"])
def test_a_run_that_is_gone_frees_its_rows_at_the_next_step(
    pipeline: Pipeline, reason: LeaveReason
) -> None:
    gone, waits = make_run(num_candidates=ROWS), make_run(num_candidates=ROWS)
    engine = engine_on(pipeline)
    engine.add(gone)
    engine.add(waits)
    for _ in range(3):
        engine.step()
    gone.close(TakenOut(reason))
    report = engine.step()
    assert report.left == [Left(gone, ROWS, ROWS * 4)]
    assert report.ended == []  # who took it out tells it
    assert len(waits.rows) == report.num_entered == ROWS


def test_a_run_that_is_gone_before_it_comes_is_let_pass(pipeline: Pipeline) -> None:
    gone = make_run()
    gone.close(TakenOut("cancelled"))
    engine = engine_on(pipeline)
    engine.add(gone)
    assert engine.is_idle


def test_a_run_that_is_gone_while_it_waits_never_enters(pipeline: Pipeline) -> None:
    full, gone = make_run(num_candidates=ROWS), make_run()
    engine = engine_on(pipeline)
    engine.add(full)
    engine.add(gone)
    engine.step()
    gone.close(TakenOut("cancelled"))
    reports = run(engine)
    assert left(reports) == [Left(gone, 0, 0)]
    assert [item.run for item in drawn(reports)] == [full]


def test_late_runs_leave(pipeline: Pipeline) -> None:
    now = 100.0
    engine = Engine(pipeline, ROWS, clock=lambda: now)
    late, fine = make_run(deadline=101.0), make_run(seed=8)
    engine.add(late)
    engine.add(fine)
    engine.step()
    now = 101.0
    report = engine.step()
    assert report.left == [Left(late, 1, 2)]
    assert report.ended == [late]
    assert late.end == Expired()
    assert set(codes_of(run(engine), fine)) == {0}


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": math.nan},
        {"temperature": 0.0},
        {"top_k": 0},
        {"top_k": 65},
        {"top_p": 1.5},
        {"prompt": 3},
        {"prompt": None},
    ],
)
def test_what_can_not_be_drawn_is_refused_alone(
    pipeline: Pipeline, changes: dict[str, object]
) -> None:
    engine = engine_on(pipeline)
    good, bad = make_run(), make_run(make_job(**changes))
    engine.add(good)
    engine.add(bad)
    reports = run(engine)
    assert ended(reports) == [bad]
    assert isinstance(bad.end, Failed)
    assert bad.end.code == "invalid_value"
    assert set(codes_of(reports, good)) == {0}


def test_glimpses_come_at_even_steps_and_grow(pipeline: Pipeline) -> None:
    seen = make_run(num_candidates=2, partial_images=3)
    engine = engine_on(pipeline)
    engine.add(seen)
    found = glimpses(run(engine))
    assert [(glimpse.index, glimpse.num_drawn) for glimpse in found] == [(0, 4), (1, 8), (2, 12)]
    final = alone(pipeline, seen.job)[0]
    for glimpse in found:
        codes = glimpse.codes.flatten().tolist()
        assert codes[: glimpse.num_drawn] == final[: glimpse.num_drawn]


def test_progress_counts_codes(pipeline: Pipeline) -> None:
    engine = engine_on(pipeline)
    big = make_run(num_candidates=ROWS + 1)
    engine.add(big)
    engine.step()
    assert big.codes_done == 2 * ROWS
    run(engine, until=lambda: engine.num_steps == 16)
    assert big.codes_done == 16 * ROWS + 2
    run(engine)
    assert big.codes_done == big.codes_total == 16 * (ROWS + 1)


class _Seconds:
    """A clock that goes on by a second with every decode step, and by ten with every prefill."""

    def __init__(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for name, seconds in (("decode", 1.0), ("prefill", 10.0)):
            work = self._taking(getattr(pipeline.stage2, name), seconds)
            monkeypatch.setattr(pipeline.stage2, name, work)

    def _taking(self, work: Callable[..., object], seconds: float) -> Callable[..., object]:
        def done(*arguments: object) -> object:
            self.now += seconds
            return work(*arguments)

        return done


def test_times_are_stamped_where_things_happen(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = _Seconds(pipeline, monkeypatch)
    engine = Engine(pipeline, ROWS, clock=lambda: seconds.now)
    first, second = make_run(), make_run(seed=8)
    engine.add(first)
    for _ in range(5):
        engine.step()
    engine.add(second)
    run(engine)
    assert first.spans == [
        Span("prefill", 1000.0, 1010.0),
        Span("drawing", 1010.0, 1010.0 + 15 + 10),  # the other one's prefill held it up
    ]
    assert second.spans == [Span("prefill", 1015.0, 1025.0), Span("drawing", 1025.0, 1040.0)]
    assert second.timings_s() == {"queue_wait": 0.5, "prefill": 10.0, "decode": 15.0}


def test_phases_follow_the_engine(pipeline: Pipeline) -> None:
    engine = engine_on(pipeline)
    first, second = make_run(num_candidates=ROWS), make_run()
    engine.add(first)
    engine.add(second)
    engine.step()
    assert (first.phase, second.phase) == ("drawing", "waiting")
    run(engine, until=lambda: first.num_undrawn == 0)
    assert first.phase == "pixels"
    run(engine, until=lambda: bool(second.rows))
    second.close(TakenOut("cancelled"))
    assert second.phase == "commit"


def test_a_step_that_raises_takes_out_what_was_in_it(pipeline: Pipeline) -> None:
    engine = engine_on(pipeline, poison_prompt="poison")
    neighbour, poison = make_run(), make_run(prompt="poison", num_candidates=ROWS - 1)
    waits = make_run(num_candidates=2, seed=5)
    for each in (neighbour, poison, waits):
        engine.add(each)
    reports = run(engine)
    assert sum(report.num_crashes for report in reports) == 1
    assert ended(reports) == [neighbour, poison]
    assert left(reports) == [Left(neighbour, 1, 1), Left(poison, ROWS - 1, ROWS - 1)]
    for each in (neighbour, poison):
        assert isinstance(each.end, TakenOut)
        assert each.end.reason == "crashed"
        assert "InjectedError" in each.end.failure
    assert codes_of(reports, waits) == alone(pipeline, waits.job)


def test_a_crash_of_a_run_that_is_gone_is_not_told_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, other = make_run(), make_run()

    def decode(*_arguments: object) -> object:
        gone.close(TakenOut("cancelled"))  # in the middle of the step that fails
        raise RuntimeError("oh")

    engine = engine_on(pipeline)  # which tries steps of its own
    monkeypatch.setattr(pipeline.stage2, "decode", decode)
    engine.add(gone)
    engine.add(other)
    assert ended(run(engine)) == [other]
    assert gone.end == TakenOut("cancelled")


def test_a_prefill_that_raises_takes_out_its_own_run_only(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = pipeline.encode("bad").ids
    broken = BrokenOn(pipeline, ids, RuntimeError("no such kernel"))
    monkeypatch.setattr(pipeline.stage2, "prefill", broken)
    engine = engine_on(pipeline)
    bad, good = make_run(prompt="bad"), make_run(num_candidates=2)
    engine.add(bad)
    engine.add(good)
    reports = run(engine)
    assert bad.end == TakenOut("crashed", "RuntimeError: no such kernel")
    assert ended(reports) == [bad]
    assert left(reports) == [Left(bad, 0, 0)]
    assert codes_of(reports, good) == alone(pipeline, good.job)


def test_a_prefill_and_then_a_step_may_raise(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = pipeline.encode("bad").ids
    broken = BrokenOn(pipeline, ids, RuntimeError("no such kernel"))
    monkeypatch.setattr(pipeline.stage2, "prefill", broken)
    engine = engine_on(pipeline, poison_prompt="poison")
    poison, bad = make_run(prompt="poison"), make_run(prompt="bad")
    engine.add(poison)
    engine.add(bad)
    reports = run(engine)
    assert ended(reports) == [bad, poison]
    assert sum(report.num_crashes for report in reports) == 2


def test_numbers_out_of_range_fail_their_job_only(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_ids = pipeline.encode("nan").ids
    forward = pipeline.stage2.prefill

    def prefill(ids: torch.Tensor) -> object:
        prefix = forward(ids)
        assert isinstance(prefix, CachedPrefix)
        if torch.equal(ids, bad_ids):
            return replace(prefix, hidden=prefix.hidden * math.nan)
        return prefix

    monkeypatch.setattr(pipeline.stage2, "prefill", prefill)
    engine = engine_on(pipeline)
    bad, good = make_run(prompt="nan", num_candidates=2), make_run(num_candidates=2)
    engine.add(bad)
    engine.add(good)
    reports = run(engine)
    assert ended(reports) == [bad]
    assert isinstance(bad.end, Failed)
    assert bad.end.code == "not_finite"
    assert codes_of(reports, good) == alone(pipeline, good.job)
    assert engine.step().num_rows == 0
