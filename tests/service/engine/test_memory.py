"""Memory that runs out, at the start or later: fewer rows, the same codes."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch

from models.drawing.generate import Batch
from models.errors import is_out_of_memory
from models.pipeline import Pipeline
from service.worker.drawing.engine import Engine
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
    run,
    shrunk,
)
from tests.service.runs import make_run


def test_out_of_memory_halves_the_rows_and_repeats(pipeline: Pipeline) -> None:
    full = make_run(num_candidates=ROWS, partial_images=2)
    engine = engine_on(pipeline, oom_above_rows=3)
    engine.add(full)
    reports = run(engine)
    assert shrunk(reports) == [4, 2]
    assert engine.num_rows == 2
    assert codes_of(reports, full) == alone(pipeline, full.job)


def test_out_of_memory_with_one_row_is_a_crash(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = pipeline.encode("huge").ids
    broken = BrokenOn(pipeline, ids, torch.OutOfMemoryError("no memory"))
    monkeypatch.setattr(pipeline.stage2, "prefill", broken)
    engine = Engine(pipeline, 2)
    huge = make_run(prompt="huge")
    engine.add(huge)
    reports = run(engine)
    assert shrunk(reports) == [1, 1]
    assert ended(reports) == [huge]
    assert huge.end == TakenOut("crashed", "OutOfMemoryError: no memory")
    assert left(reports) == [Left(huge, 0, 0)]
    assert engine.is_idle


class _Scarce:
    """Instead of `Pipeline.batch`: memory for one batch of so many rows, and for no second one."""

    def __init__(self, pipeline: Pipeline, num_rows: int) -> None:
        self.make = pipeline.batch
        self.num_rows = num_rows
        self.given: weakref.ref[Batch] | None = None

    def __call__(self, num_rows: int) -> Batch:
        if num_rows > self.num_rows or (self.given and self.given()):
            raise MemoryError("no memory for another batch")
        batch = self.make(num_rows)
        self.given = weakref.ref(batch)
        return batch


def make_scarce(pipeline: Pipeline, num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, memory holds one batch of so many rows."""
    monkeypatch.setattr(Pipeline, "batch", _Scarce(pipeline, num_rows))


def test_rows_that_do_not_fit_at_the_start_are_halved(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    five = make_run(num_candidates=5)
    expected = alone(pipeline, five.job)
    make_scarce(pipeline, 3, monkeypatch)
    engine = engine_on(pipeline)
    assert engine.num_rows == 2
    assert shrunk(run(engine)) == [2]
    engine.add(five)
    assert codes_of(run(engine), five) == expected


def test_pictures_that_do_not_fit_at_the_start_halve_the_rows(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_scarce(pipeline, ROWS, monkeypatch)
    engine = engine_on(pipeline)

    def use_codes(codes: torch.Tensor) -> None:
        assert codes.shape == (1, pipeline.stage2.num_steps, 1)
        if engine.num_rows > 2:
            raise torch.OutOfMemoryError("no memory for pixels")

    engine.warm_up(use_codes)
    assert engine.num_rows == 2
    assert shrunk(run(engine)) == [2]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), RuntimeError("oh")])
def test_the_old_batch_is_gone_before_a_new_one_is_made(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    waits = make_run(num_candidates=4)
    expected = alone(pipeline, waits.job)
    errors, decode = [error], pipeline.stage2.decode

    def fails_once(*arguments: Any) -> torch.Tensor:
        if errors:
            raise errors.pop()
        return decode(*arguments)

    monkeypatch.setattr(pipeline.stage2, "decode", fails_once)
    make_scarce(pipeline, ROWS, monkeypatch)
    engine = engine_on(pipeline)
    engine.add(make_run(num_candidates=ROWS))
    engine.add(waits)
    reports = run(engine)
    assert engine.num_rows == (4 if is_out_of_memory(error) else ROWS)
    assert codes_of(reports, waits) == expected


@pytest.mark.parametrize("faults", [{"oom_above_rows": 4}, {"poison_prompt": "poison"}])
def test_out_of_memory_while_a_new_batch_is_made_is_told_too(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, faults: dict[str, object]
) -> None:
    waits = make_run(num_candidates=4)
    expected = alone(pipeline, waits.job)
    engine = engine_on(pipeline, **faults)
    make_scarce(pipeline, 2, monkeypatch)
    engine.add(make_run(prompt="poison", num_candidates=ROWS))
    engine.add(waits)
    reports = run(engine)
    assert shrunk(reports) == [2]
    assert codes_of(reports, waits) == expected
