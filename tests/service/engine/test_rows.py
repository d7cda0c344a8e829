"""Who is in the batch: runs enter when there are rows, share steps, and leave."""

from __future__ import annotations

import pytest

from models.pipeline import Pipeline
from service.jobs import Expired
from service.worker.drawing.engine import Engine
from service.worker.handover import Left
from service.worker.run import LeaveReason, TakenOut
from tests.service.engine_runs import ROWS, alone, codes_of, drawn, engine_on, left, run
from tests.service.makers import make_job
from tests.service.runs import make_run


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


def test_a_job_that_enters_in_parts_joins_others_once_and_never_itself(pipeline: Pipeline) -> None:
    early, big = make_run(num_candidates=ROWS // 2), make_run(num_candidates=ROWS)
    engine = engine_on(pipeline)
    engine.add(early)
    reports = [engine.step() for _ in range(3)]
    engine.add(big)
    reports += run(engine)
    entries = [(r.num_entered, r.num_joins) for r in reports if r.num_entered]
    assert entries == [(ROWS // 2, 0), (ROWS // 2, 1), (ROWS // 2, 0)]


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
