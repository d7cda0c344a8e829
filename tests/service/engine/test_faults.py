"""What fails takes its own run out and, of a step, all that were in it; the others go on as before.

Memory that runs out is in a file of its own.
"""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from models.pipeline import Pipeline
from models.stage2.kv_cache import CachedPrefix
from service.jobs import Failed
from service.worker.handover import Left
from service.worker.run import TakenOut
from tests.service.engine_runs import (
    ROWS,
    BrokenOn,
    alone,
    codes_of,
    ended,
    engine_on,
    left,
    lose_device,
    run,
)
from tests.service.makers import make_job
from tests.service.runs import make_run


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


def test_a_prefill_on_a_lost_device_is_the_engines_end(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else job after job would end as a crash here."""
    engine, suspect = engine_on(pipeline), make_run()
    lose_device(pipeline, monkeypatch)
    engine.add(suspect)
    with pytest.raises((RuntimeError, AssertionError)):
        engine.step()
    assert isinstance(suspect.end, TakenOut)
    assert suspect.end.reason == "crashed"


_POISONING = """
import torch
from models.pipeline import LoadOptions, load
from tests.service.engine_runs import engine_on
from tests.service.runs import make_run

pipeline = load("tiny", options=LoadOptions(device=torch.device("cuda")))
engine, prefill = engine_on(pipeline), pipeline.stage2.prefill

def poisoned(ids):
    torch.arange(4, device="cuda")[torch.tensor([9], device="cuda")]
    torch.cuda.synchronize()
    return prefill(ids)

pipeline.stage2.prefill = poisoned
engine.add(make_run())
try:
    engine.step()
except Exception as error:
    print("ended by", type(error).__name__, flush=True)
else:
    print("goes on")
"""


@pytest.mark.gpu
def test_an_error_that_ends_cudas_context_ends_the_engine() -> None:
    """In a process of its own, which can't use the GPU again."""
    process = subprocess.run(
        [sys.executable, "-c", _POISONING], capture_output=True, text=True, check=False
    )
    assert "ended by" in process.stdout


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
