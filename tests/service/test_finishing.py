from __future__ import annotations

import io
import queue
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from models.pipeline import Pipeline, load, to_bytes
from service.jobs import Job, Succeeded
from service.worker.drawing.cpu_share import CpuShare
from service.worker.drawing.engine_events import Crashed, Drawn, Entered, Event, Glimpse, Left
from service.worker.pictures.finishing import (
    Finished,
    Finishing,
    FinishingCrashed,
    PartialImage,
    Product,
)
from tests.service.makers import make_job

WAIT_S = 30.0


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load("tiny")


@dataclass
class Bench:
    """The thread, what it made, and the stages it timed."""

    pipeline: Pipeline
    products: queue.SimpleQueue[Product] = field(default_factory=queue.SimpleQueue)
    stages: list[str] = field(default_factory=list)
    out_of_memory: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.finishing = Finishing(
            self.pipeline,
            CpuShare(2, can_split=True),
            self.products.put,
            lambda _run, stage, _s: self.stages.append(stage),
            lambda: self.out_of_memory.append(True),
        )

    def put(self, *events: Event) -> None:
        for event in events:
            self.finishing.put(event)

    def next(self) -> Product:
        return self.products.get(timeout=WAIT_S)

    def finished(self) -> Succeeded:
        product = self.next()
        assert isinstance(product, Finished)
        assert isinstance(product.outcome, Succeeded)
        return product.outcome


@pytest.fixture
def bench(pipeline: Pipeline) -> Iterator[Bench]:
    bench = Bench(pipeline)
    bench.finishing.start()
    yield bench
    bench.finishing.stop(WAIT_S)


def entered(run_id: str, job: Job) -> Entered:
    return Entered(run_id, job, job.num_candidates, 0, False, True, 0.25)


def codes(*seeds: int) -> torch.Tensor:
    rows = [torch.randint(64, (16, 1), generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(rows)


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_the_best_are_kept_in_rank_order(bench: Bench, pipeline: Pipeline) -> None:
    job = make_job(num_candidates=3, n=2)
    bench.put(entered("a", job), Drawn("a", (0, 1, 2), codes(0, 1, 2), is_last=True))
    outcome = bench.finished()
    assert [image.rank for image in outcome.images] == [0, 1]
    assert [image.candidate for image in outcome.images] == [0, 1]  # no CLIP: as they came
    assert outcome.prompt_truncated
    assert outcome.timings_s["prefill"] == 0.25
    expected = to_bytes(pipeline.pixels(codes(0, 1)))
    for image, wanted in zip(outcome.images, expected, strict=True):
        assert np.array_equal(pixels(image.data), wanted)
    assert bench.stages == ["pixels", "rerank", "encode"]


def test_parts_in_any_order_give_the_same_files(bench: Bench) -> None:
    job = make_job(num_candidates=3, n=3)
    bench.put(entered("whole", job), Drawn("whole", (0, 1, 2), codes(0, 1, 2), is_last=True))
    bench.put(
        entered("parts", job),
        Drawn("parts", (2,), codes(2), is_last=False),
        Drawn("parts", (1, 0), codes(1, 0), is_last=True),
    )
    assert bench.finished().images == bench.finished().images


def test_a_glimpse_becomes_a_file(bench: Bench) -> None:
    bench.put(entered("a", make_job()), Glimpse("a", 1, 0, codes(5), 4))
    product = bench.next()
    assert isinstance(product, PartialImage)
    assert (product.run_id, product.index, product.candidate) == ("a", 1, 0)
    assert pixels(product.data).shape == (32, 32, 3)


@pytest.mark.parametrize("end", [Left("a", "cancelled", 0, 0), Crashed(("a",), "oh", 1, 5)])
def test_runs_that_left_make_no_pictures(bench: Bench, end: Event) -> None:
    bench.put(entered("a", make_job()), end, Drawn("a", (0,), codes(0), is_last=True))
    bench.put(entered("b", make_job()), Drawn("b", (0,), codes(0), is_last=True))
    product = bench.next()
    assert isinstance(product, Finished)
    assert product.run_id == "b"
    bench.finishing.stop(WAIT_S)
    assert bench.finishing.num_waiting == 0


def test_an_error_costs_its_run_only(bench: Bench) -> None:
    bench.put(entered("bad", make_job()), entered("good", make_job()))
    bench.put(
        Drawn("bad", (0,), codes(0)[:, :3], is_last=True),  # too few codes for a picture
        Drawn("good", (0,), codes(0), is_last=True),
    )
    first, second = bench.next(), bench.next()
    assert isinstance(first, FinishingCrashed)
    assert first.run_id == "bad"
    assert isinstance(second, Finished)


class _Scarce:
    """A stage that finds no memory the first few times."""

    def __init__(self, pipeline: Pipeline, name: str, num_failures: int) -> None:
        self.stage = getattr(pipeline, name)
        self.num_failures = num_failures

    def __call__(self, *arguments: object) -> torch.Tensor:
        if self.num_failures > 0:
            self.num_failures -= 1
            raise torch.OutOfMemoryError("no memory")
        pixels: torch.Tensor = self.stage(*arguments)
        return pixels


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("preview", Glimpse("a", 0, 0, codes(0), 4)),
        ("pixels", Drawn("a", (0,), codes(0), is_last=True)),
    ],
)
@pytest.mark.parametrize("num_failures", [1, 2])
def test_without_memory_a_picture_is_tried_twice_and_each_time_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, event: Event, num_failures: int
) -> None:
    scarce = _Scarce(bench.pipeline, name, num_failures)
    monkeypatch.setattr(Pipeline, name, lambda _self, *arguments: scarce(*arguments))
    bench.put(entered("a", make_job()), event)
    product = bench.next()
    assert isinstance(product, FinishingCrashed) is (num_failures == 2)
    assert len(bench.out_of_memory) == num_failures
