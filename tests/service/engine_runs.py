"""Engines on `tiny`, what they tell until they are idle, and what their codes must be."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from models.drawing.generate import run_to_end
from models.pipeline import Pipeline
from service.jobs import Job
from service.worker.drawing.engine import Engine, row_params
from service.worker.drawing.engine_events import Drawn, Event
from service.worker.drawing.faults import Faults

ROWS = 8
NEVER = math.inf


def engine_on(pipeline: Pipeline, **faults: object) -> Engine:
    """An engine of ROWS rows."""
    return Engine(pipeline, ROWS, faults=Faults(**faults))  # type: ignore[arg-type]  # its fields


def run(engine: Engine, until: Callable[[], bool] | None = None) -> list[Event]:
    """Step until idle, or until `until`; returns all events."""
    events: list[Event] = []
    for _ in range(1000):
        if engine.is_idle or (until is not None and until()):
            return events
        events += engine.step().events
    raise AssertionError("the engine does not come to an end")


def codes_of(events: list[Event], run_id: str) -> dict[int, list[int]]:
    """Candidate → its codes."""
    found: dict[int, list[int]] = {}
    for event in events:
        if isinstance(event, Drawn) and event.run_id == run_id:
            for candidate, codes in zip(event.candidates, event.codes, strict=True):
                assert candidate not in found
                found[candidate] = codes.flatten().tolist()
    return found


def alone(pipeline: Pipeline, job: Job) -> dict[int, list[int]]:
    """What each candidate's codes must be: the job alone on a batch of the same size."""
    recipe = job.recipe
    params = [row_params(recipe, candidate) for candidate in range(recipe.num_candidates)]
    prefix = pipeline.prefix(pipeline.encode(recipe.prompt))
    codes = run_to_end(pipeline.batch(ROWS), prefix, params)
    return {candidate: row.flatten().tolist() for candidate, row in enumerate(codes)}


class BrokenOn:
    """A real pipeline whose prefill fails for one prompt."""

    def __init__(self, pipeline: Pipeline, ids: torch.Tensor, error: Exception) -> None:
        self.forward = pipeline.stage2.prefill
        self.ids, self.error = ids, error

    def __call__(self, ids: torch.Tensor) -> object:
        if torch.equal(ids, self.ids):
            raise self.error
        return self.forward(ids)
