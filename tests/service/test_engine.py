from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from models.pipeline import Pipeline, load
from models.stage2.kv_cache import CachedPrefix
from service.worker.drawing.engine import Engine
from service.worker.drawing.engine_events import (
    Crashed,
    Drawn,
    Entered,
    Event,
    Glimpse,
    Left,
    Refused,
)
from tests.service.engine_runs import NEVER, ROWS, BrokenOn, alone, codes_of, engine_on, run
from tests.service.makers import make_job


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load("tiny")


def test_one_job_is_drawn_as_the_loop_draws_it(pipeline: Pipeline) -> None:
    job = make_job(num_candidates=3, top_k=10)
    engine = engine_on(pipeline)
    engine.add("a", job, NEVER)
    events = run(engine)
    assert codes_of(events, "a") == alone(pipeline, job)
    entered = events[0]
    assert isinstance(entered, Entered)
    assert (entered.num_candidates, entered.is_join) == (3, False)
    assert engine.num_steps == pipeline.stage2.num_steps - 1  # the first code comes with the entry


def test_runs_share_steps_and_keep_their_codes(pipeline: Pipeline) -> None:
    jobs = {
        f"run{n}": make_job(prompt=f"thing {n}", seed=n, num_candidates=1 + n % 3, top_p=0.9)
        for n in range(6)
    }
    engine = engine_on(pipeline)
    events: list[Event] = []
    for run_id, job in jobs.items():
        engine.add(run_id, job, NEVER)
        events += engine.step().events
    events += run(engine)
    assert any(isinstance(event, Entered) and event.is_join for event in events)
    for run_id, job in jobs.items():
        assert codes_of(events, run_id) == alone(pipeline, job)


def test_a_job_larger_than_the_batch_enters_in_parts(pipeline: Pipeline) -> None:
    job = make_job(num_candidates=2 * ROWS + 3)
    engine = engine_on(pipeline)
    engine.add("big", job, NEVER)
    events = run(engine)
    parts = [event.num_candidates for event in events if isinstance(event, Entered)]
    prefills = [event.prefill_s for event in events if isinstance(event, Entered)]
    assert parts == [ROWS, ROWS, 3]
    assert [seconds is None for seconds in prefills] == [False, True, True]
    assert codes_of(events, "big") == alone(pipeline, job)
    drawn = [event for event in events if isinstance(event, Drawn)]
    assert [event.is_last for event in drawn] == [False, False, True]


def test_a_late_run_enters_at_the_next_step(pipeline: Pipeline) -> None:
    engine = engine_on(pipeline)
    engine.add("a", make_job(num_candidates=2), NEVER)
    for _ in range(5):
        engine.step()
    engine.add("b", make_job(num_candidates=1), NEVER)
    (entered,) = engine.step().events
    assert isinstance(entered, Entered)
    assert (entered.run_id, entered.step, entered.is_join) == ("b", 5, True)


def test_removing_frees_the_rows_at_once(pipeline: Pipeline) -> None:
    engine = engine_on(pipeline)
    engine.add("a", make_job(num_candidates=ROWS), NEVER)
    engine.add("b", make_job(num_candidates=ROWS), NEVER)
    for _ in range(3):
        engine.step()
    engine.remove("a", "cancelled")
    left, entered = engine.step().events
    assert left == Left("a", "cancelled", ROWS, ROWS * 4)
    assert isinstance(entered, Entered)
    assert entered.run_id == "b"


def test_removing_an_unknown_run_is_told_too(pipeline: Pipeline) -> None:
    engine = engine_on(pipeline)
    engine.remove("nobody", "cancelled")
    assert run(engine) == [Left("nobody", "cancelled", 0, 0)]


def test_late_runs_leave(pipeline: Pipeline) -> None:
    now = 100.0
    engine = Engine(pipeline, ROWS, clock=lambda: now)
    engine.add("late", make_job(), deadline=101.0)
    engine.add("fine", make_job(seed=8), deadline=NEVER)
    engine.step()
    now = 101.0
    assert Left("late", "expired", 1, 2) in engine.step().events
    assert set(codes_of(run(engine), "fine")) == {0}


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
    engine.add("good", make_job(), NEVER)
    engine.add("bad", make_job(**changes), NEVER)
    events = run(engine)
    (refused,) = (event for event in events if isinstance(event, Refused))
    assert (refused.run_id, refused.code) == ("bad", "invalid_value")
    assert set(codes_of(events, "good")) == {0}


def test_glimpses_come_at_even_steps_and_grow(pipeline: Pipeline) -> None:
    job = make_job(num_candidates=2, partial_images=3)
    engine = engine_on(pipeline)
    engine.add("a", job, NEVER)
    events = run(engine)
    glimpses = [event for event in events if isinstance(event, Glimpse)]
    assert [(glimpse.index, glimpse.num_drawn) for glimpse in glimpses] == [(0, 4), (1, 8), (2, 12)]
    final = alone(pipeline, job)[0]
    for glimpse in glimpses:
        codes = glimpse.codes.flatten().tolist()
        assert codes[: glimpse.num_drawn] == final[: glimpse.num_drawn]


def test_progress_counts_codes(pipeline: Pipeline) -> None:
    engine = engine_on(pipeline)
    engine.add("a", make_job(num_candidates=ROWS + 1), NEVER)
    engine.step()
    assert engine.progress() == {"a": 2 * ROWS}
    run(engine, until=lambda: engine.num_steps == 16)
    assert engine.progress() == {"a": 16 * ROWS + 2}


def test_a_step_that_raises_takes_out_what_was_in_it(pipeline: Pipeline) -> None:
    engine = engine_on(pipeline, poison_prompt="poison")
    waits = make_job(num_candidates=2, seed=5)
    engine.add("neighbour", make_job(), NEVER)
    engine.add("poison", make_job(prompt="poison", num_candidates=ROWS - 1), NEVER)
    engine.add("waits", waits, NEVER)
    events = run(engine)
    (crashed,) = (event for event in events if isinstance(event, Crashed))
    assert set(crashed.run_ids) == {"neighbour", "poison"}
    assert (crashed.num_rows, crashed.num_codes) == (ROWS, ROWS)
    assert "InjectedError" in crashed.failure
    assert codes_of(events, "waits") == alone(pipeline, waits)


def test_a_prefill_that_raises_takes_out_its_own_run_only(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = pipeline.encode("bad").ids
    broken = BrokenOn(pipeline, ids, RuntimeError("no such kernel"))
    monkeypatch.setattr(pipeline.stage2, "prefill", broken)
    engine = engine_on(pipeline)
    good = make_job(num_candidates=2)
    engine.add("bad", make_job(prompt="bad"), NEVER)
    engine.add("good", good, NEVER)
    events = run(engine)
    assert Crashed(("bad",), "RuntimeError: no such kernel", 0, 0) in events
    assert codes_of(events, "good") == alone(pipeline, good)


def test_a_prefill_and_then_a_step_may_raise(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = pipeline.encode("bad").ids
    broken = BrokenOn(pipeline, ids, RuntimeError("no such kernel"))
    monkeypatch.setattr(pipeline.stage2, "prefill", broken)
    engine = engine_on(pipeline, poison_prompt="poison")
    engine.add("poison", make_job(prompt="poison"), NEVER)
    engine.add("bad", make_job(prompt="bad"), NEVER)
    crashed = [event.run_ids for event in run(engine) if isinstance(event, Crashed)]
    assert crashed == [("bad",), ("poison",)]


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
    good = make_job(num_candidates=2)
    engine.add("bad", make_job(prompt="nan", num_candidates=2), NEVER)
    engine.add("good", good, NEVER)
    events = run(engine)
    (refused,) = (event for event in events if isinstance(event, Refused))
    assert (refused.run_id, refused.code) == ("bad", "not_finite")
    assert codes_of(events, "good") == alone(pipeline, good)
    assert engine.step().num_rows == 0
