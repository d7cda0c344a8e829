"""What is told of a run on its way: glimpses, codes drawn, times, its phase."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models.pipeline import Pipeline
from service.worker.drawing.engine import Engine
from service.worker.run import Span, TakenOut
from tests.service.engine_runs import ROWS, alone, engine_on, glimpses, run
from tests.service.runs import make_run


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
        pipeline.batch(ROWS)  # tries shapes by decoding, once a pipeline: before the clock runs
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
