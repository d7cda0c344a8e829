"""Engines on `tiny`, what they tell until they are idle, and what their codes must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain

import pytest
import torch

from models.drawing.candidates import draw_all
from models.pipeline import Pipeline
from service.config.groups import TestingSettings
from service.jobs import Job
from service.worker.drawing.engine import Engine
from service.worker.drawing.row_params import row_params
from service.worker.handover import Drawn, Glimpse, Left, StepReport
from service.worker.run import Run

ROWS = 8


def engine_on(pipeline: Pipeline, **faults: object) -> Engine:
    """An engine of ROWS rows."""
    engine = Engine(pipeline, ROWS)
    engine.faults = TestingSettings.model_validate(faults)
    return engine


def run(engine: Engine, until: Callable[[], bool] | None = None) -> list[StepReport]:
    """Step until idle, or until `until`; returns all reports."""
    reports: list[StepReport] = []
    for _ in range(1000):
        if engine.is_idle or (until is not None and until()):
            return reports
        reports.append(engine.step())
    raise AssertionError("the engine does not come to an end")


def drawn(reports: Iterable[StepReport]) -> list[Drawn]:
    """What got all its codes, in order."""
    return [item for report in reports for item in report.made if isinstance(item, Drawn)]


def glimpses(reports: Iterable[StepReport]) -> list[Glimpse]:
    """Codes for partial pictures, in order."""
    return [item for report in reports for item in report.made if isinstance(item, Glimpse)]


def left(reports: Iterable[StepReport]) -> list[Left]:
    """Who was taken out early."""
    return list(chain.from_iterable(report.left for report in reports))


def ended(reports: Iterable[StepReport]) -> list[Run]:
    """Whose end the engine decided."""
    return list(chain.from_iterable(report.ended for report in reports))


def shrunk(reports: Iterable[StepReport]) -> list[int]:
    """The row count after each time that memory ran out."""
    return list(chain.from_iterable(report.shrunk for report in reports))


def codes_of(reports: Iterable[StepReport], run: Run) -> dict[int, list[int]]:
    """Candidate → its codes."""
    found: dict[int, list[int]] = {}
    for item in drawn(reports):
        if item.run is run:
            for candidate, codes in zip(item.candidates, item.codes, strict=True):
                assert candidate not in found
                found[candidate] = codes.flatten().tolist()
    return found


def alone(pipeline: Pipeline, job: Job) -> dict[int, list[int]]:
    """What each candidate's codes must be: the job alone on a batch of the same size."""
    recipe = job.recipe
    preset, candidates = pipeline.preset, range(recipe.num_candidates)
    params = [row_params(recipe, candidate, preset) for candidate in candidates]
    prefix = pipeline.prefix(pipeline.encode(recipe.prompt))
    codes = draw_all(pipeline.batch(ROWS), prefix, params).codes
    return {candidate: row.flatten().tolist() for candidate, row in enumerate(codes)}


def lose_device(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on its device is one that can do nothing, as a GPU after some errors of CUDA's."""
    nowhere = torch.device("cuda", 99)
    monkeypatch.setattr(pipeline, "options", replace(pipeline.options, device=nowhere))
    monkeypatch.setattr(type(pipeline.stage2), "device", nowhere)


class BrokenOn:
    """A real pipeline whose prefill fails for one prompt."""

    def __init__(self, pipeline: Pipeline, ids: torch.Tensor, error: Exception) -> None:
        self.forward = pipeline.stage2.prefill
        self.ids, self.error = ids, error

    def __call__(self, ids: torch.Tensor) -> object:
        if torch.equal(ids, self.ids):
            raise self.error
        return self.forward(ids)
