from __future__ import annotations

import asyncio
import io
import queue
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from prometheus_client import CollectorRegistry

from models.configs.rankers import ClipConfig
from models.pipeline import Pipeline, Prompt, load, to_bytes
from service.broker.stopping import stop
from service.jobs import Succeeded
from service.metrics import WorkerMetrics
from service.worker.cpu_share import CpuShare
from service.worker.handover import Drawn, Glimpse
from service.worker.pictures.picture_makers import PictureMakers
from service.worker.pictures.station import Pictures, beside_steps
from service.worker.run import Run, TakenOut
from service.worker.signs.meter import Meter
from service.worker.threads import Hand
from tests.service.engine_runs import lose_device
from tests.service.live_worker import WAIT_S, until
from tests.service.makers import MODEL
from tests.service.runs import make_run


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load("tiny")


class Bench:
    """The station at work, and what it hands to delivery."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.sent_back: list[Run] = []
        self.delivered: queue.SimpleQueue[Run | Glimpse] = queue.SimpleQueue()
        self.registry = CollectorRegistry()
        self.hand = Hand("pictures", lambda: beside_steps(torch.device("cpu")))
        self.working = asyncio.create_task(self.hand.run())
        self.station = Pictures(
            PictureMakers(pipeline, CpuShare(2, can_split=True)),
            Meter(WorkerMetrics(self.registry), MODEL),
            self.hand,
            self.delivered.put,
            self.sent_back.append,
            pipeline.preset.views,
        )

    def put(self, *items: Drawn | Glimpse) -> None:
        for item in items:
            self.station.put(item)

    async def next(self) -> Run | Glimpse:
        return await asyncio.to_thread(self.delivered.get, timeout=WAIT_S)

    async def finished(self) -> Succeeded:
        run = await self.next()
        assert isinstance(run, Run)
        assert isinstance(run.end, Succeeded)
        return run.end


@pytest.fixture
async def bench(pipeline: Pipeline) -> AsyncIterator[Bench]:
    bench = Bench(pipeline)
    yield bench
    bench.hand.stop()
    await asyncio.wait({bench.working}, timeout=WAIT_S)
    bench.station.close()
    await stop(bench.working)


def codes(*seeds: int) -> torch.Tensor:
    rows = [torch.randint(64, (16, 1), generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(rows)


def drawn(run: Run, *candidates: int, nats: tuple[float, ...] | None = None) -> Drawn:
    """These candidates from drawing, which counts them."""
    run.num_drawn += len(candidates)
    likelihoods = nats or (None,) * len(candidates)
    return Drawn(run, candidates, codes(*candidates), likelihoods, is_last=run.num_undrawn == 0)


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


async def test_the_best_are_kept_in_rank_order(bench: Bench, pipeline: Pipeline) -> None:
    run = make_run(num_candidates=3, n=2)
    run.stamp("prefill", 1.0, 1.25)
    run.is_truncated = True
    bench.put(drawn(run, 0, 1, 2))
    outcome = await bench.finished()
    assert [image.rank for image in outcome.images] == [0, 1]
    assert [image.candidate for image in outcome.images] == [0, 1]  # no CLIP: as they came
    assert outcome.prompt_truncated
    assert outcome.timings_s["prefill"] == 0.25
    expected = to_bytes(pipeline.pixels(codes(0, 1)))
    for image, wanted in zip(outcome.images, expected, strict=True):
        assert np.array_equal(pixels(image.data), wanted)
    assert [span.phase for span in run.spans] == ["prefill", "pixels", "ranking", "encoding"]
    assert set(outcome.timings_s) == {"queue_wait", "prefill", "pixels", "rerank", "encode"}


async def test_a_score_that_is_not_there_stays_away(bench: Bench) -> None:
    bench.put(drawn(make_run(num_candidates=2, n=2), 0, 1))
    assert [image.score for image in (await bench.finished()).images] == [None, None]


class _Given:
    """A ranker of pictures in order, whose scores are known before."""

    def __init__(self, *scores: float) -> None:
        self.left = list(scores)

    def features(self, prompt: Prompt) -> torch.Tensor:
        return torch.zeros(1)

    def scores(
        self, features: torch.Tensor, pixels: torch.Tensor, codes: torch.Tensor | None = None
    ) -> torch.Tensor:
        return torch.tensor([self.left.pop(0) for _ in pixels])


async def test_a_score_of_nothing_is_a_score(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of three whose scores are below, at and above zero."""
    monkeypatch.setattr(bench.pipeline, "ranker", _Given(-0.5, 0.0, 0.25))
    bench.put(drawn(make_run(num_candidates=3, n=2), 0, 1, 2))
    images = (await bench.finished()).images
    assert [(image.candidate, image.score) for image in images] == [(2, 0.25), (1, 0.0)]


async def test_what_the_prior_finds_unlikely_comes_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the model's scores count likelihoods; each candidate's is its own, in whatever part."""
    clip = ClipConfig("some", "weights", likelihood_weight=0.5)
    monkeypatch.setattr(bench.pipeline, "preset", replace(bench.pipeline.preset, clip=clip))
    monkeypatch.setattr(bench.pipeline, "ranker", _Given(0.5, 0.25, 1.0))
    run = make_run(num_candidates=3, n=3)
    bench.put(drawn(run, 2, nats=(-0.25,)), drawn(run, 1, 0, nats=(-1.0, -1.75)))
    images = (await bench.finished()).images
    assert [(i.candidate, i.score) for i in images] == [(2, 0.375), (0, 0.125), (1, -0.25)]


async def test_where_nothing_ranks_only_pictures_that_are_kept_are_made(bench: Bench) -> None:
    first, second = make_run(num_candidates=9, n=3), make_run(num_candidates=9, n=2)
    bench.put(drawn(first, 4, 5, 6, 7, 8), drawn(first, 2, 1, 3, 0))
    second.candidates = range(5, 9)  # a part
    bench.put(drawn(second, 5, 7), drawn(second, 6, 8))
    for run, kept in ((first, [0, 1, 2]), (second, [5, 6])):
        outcome = await bench.finished()
        assert [image.candidate for image in outcome.images] == kept
        assert outcome.num_drawn == len(run.candidates)
        assert sorted(run.pictures) == kept


async def test_where_something_ranks_all_pictures_are_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.pipeline, "ranker", _Given(*range(9)))
    run = make_run(num_candidates=9, n=1)
    bench.put(drawn(run, 0, 1, 2, 3, 4), drawn(run, 5, 6, 7, 8))
    assert [image.candidate for image in (await bench.finished()).images] == [8]
    assert sorted(run.pictures) == [*range(9)]


async def test_drawing_lasted_as_long_as_its_stamp_says_however_late_this_is_read(
    bench: Bench,
) -> None:
    run = make_run()
    run.stamp("drawing", 10.0, 10.83)
    bench.put(
        drawn(make_run(num_candidates=40, n=40, seed=5), *range(40))
    )  # keeps the station busy
    bench.put(drawn(run, 0))
    await bench.finished()
    assert (await bench.finished()).timings_s["decode"] == 0.83


async def test_parts_in_any_order_give_the_same_files(bench: Bench) -> None:
    whole, parts = make_run(num_candidates=3, n=3), make_run(num_candidates=3, n=3)
    bench.put(drawn(whole, 0, 1, 2), drawn(parts, 2), drawn(parts, 1, 0))
    assert (await bench.finished()).images == (await bench.finished()).images


async def test_a_range_of_candidates_is_finished_without_the_others(bench: Bench) -> None:
    run = make_run(num_candidates=9, n=2, candidates=range(4, 7))
    bench.put(drawn(run, 4, 5, 6))
    assert [image.candidate for image in (await bench.finished()).images] == [4, 5]


async def test_a_glimpse_becomes_a_file(bench: Bench) -> None:
    run = make_run()
    bench.put(Glimpse(run, 1, 0, codes(5), 4))
    glimpse = await bench.next()
    assert isinstance(glimpse, Glimpse)
    assert (glimpse.run, glimpse.index, glimpse.candidate) == (run, 1, 0)
    assert pixels(glimpse.data).shape == (32, 32, 3)


@pytest.mark.parametrize("end", [TakenOut("cancelled"), TakenOut("crashed", "oh")])
async def test_runs_that_are_gone_make_no_pictures(bench: Bench, end: TakenOut) -> None:
    gone, other = make_run(), make_run()
    gone.close(end)
    bench.put(Glimpse(gone, 0, 0, codes(0), 4), drawn(gone, 0), drawn(other, 0))
    assert await bench.next() is other
    assert gone.pictures == {}
    await until(lambda: bench.station.num_waiting == 0)  # it counts after it has handed over


async def test_a_run_that_is_gone_meanwhile_is_dropped_before_the_next_pictures(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, other = make_run(num_candidates=40, n=40), make_run()
    make = Pipeline.pixels

    def cancelling(pipeline: Pipeline, codes: torch.Tensor) -> torch.Tensor:
        gone.close(TakenOut("cancelled"))
        return make(pipeline, codes)

    monkeypatch.setattr(Pipeline, "pixels", cancelling)
    bench.put(drawn(gone, *range(40)), drawn(other, 0))
    assert await bench.next() is other
    assert 0 < len(gone.pictures) < 40


async def test_an_error_costs_its_run_only(bench: Bench) -> None:
    bad, good = make_run(), make_run()
    broken = drawn(bad, 0)
    bench.put(replace(broken, codes=broken.codes[:, :3]))  # too few for a picture
    bench.put(drawn(good, 0))
    assert [await bench.next(), await bench.next()] == [bad, good]
    assert isinstance(bad.end, TakenOut)
    assert bad.end.reason == "crashed"
    assert isinstance(good.end, Succeeded)


async def test_a_lost_device_ends_the_run_and_then_the_station(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    lose_device(bench.pipeline, monkeypatch)
    bench.put(drawn(run, 0))
    assert await bench.next() is run
    assert isinstance(run.end, TakenOut)
    assert run.end.reason == "crashed"
    with pytest.raises((RuntimeError, AssertionError)):
        await asyncio.wait_for(bench.working, WAIT_S)


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


@pytest.mark.parametrize("name", ["preview", "pixels"])
@pytest.mark.parametrize("num_failures", [1, 2])
async def test_without_memory_a_picture_is_tried_twice_and_each_time_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, num_failures: int
) -> None:
    scarce = _Scarce(bench.pipeline, name, num_failures)
    monkeypatch.setattr(Pipeline, name, lambda _self, *arguments: scarce(*arguments))
    run = make_run()
    bench.put(Glimpse(run, 0, 0, codes(0), 4) if name == "preview" else drawn(run, 0))
    await bench.next()
    assert isinstance(run.end, TakenOut) is (num_failures == 2)
    ooms = bench.registry.get_sample_value("mindalle_out_of_memory_total", {"model": MODEL})
    assert ooms == num_failures
