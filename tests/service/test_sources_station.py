from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry

from models.drawing.forced import FREE
from models.known import Known
from models.pipeline import Pipeline, load
from service.broker.stopping import stop
from service.jobs import Failed, Recipe
from service.metrics import WorkerMetrics
from service.sources.hole import AROUND
from service.sources.prepared import prepare
from service.sources.source import Source
from service.worker.run import Run, TakenOut
from service.worker.signs.meter import Meter
from service.worker.sources import station
from service.worker.sources.encoding import known_for
from service.worker.sources.station import Sources, one_thread
from service.worker.threads import Hand
from tests.service.engine_runs import lose_device
from tests.service.files import file_of, noise
from tests.service.live_worker import WAIT_S
from tests.service.makers import MODEL
from tests.service.runs import make_run

_PICTURE = file_of(noise())


class Bench:
    """The station at work, and what it hands on."""

    def __init__(self) -> None:
        self.drawing: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self.delivered: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self.registry = CollectorRegistry()
        self.hand = Hand("sources", lambda: one_thread(torch.device("cpu")))
        self.pipeline = load("tiny")
        self.working = asyncio.create_task(self.hand.run())
        self.station = Sources(
            self.pipeline,
            Meter(WorkerMetrics(self.registry), MODEL),
            self.hand,
            drawing=self.drawing.put,
            delivery=self.delivered.put,
        )

    def put(self, data: bytes | None = _PICTURE, source: Source | None = None) -> Run:
        run = make_run(source=source or Source("a" * 64, keep=0.5))
        run.claim = replace(run.claim, source=data)
        self.station.put(run)
        return run

    async def drawn(self) -> Run:
        return await asyncio.to_thread(self.drawing.get, timeout=WAIT_S)

    async def ended(self) -> Run:
        return await asyncio.to_thread(self.delivered.get, timeout=WAIT_S)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.hand.stop()
    await asyncio.wait({bench.working}, timeout=WAIT_S)
    await stop(bench.working)


async def test_what_can_not_be_encoded_ends_alone(bench: Bench) -> None:
    gone, broken = bench.put(None), bench.put(b"no picture")
    wrong = bench.put(file_of(noise((16, 16))))
    good = bench.put()
    assert await bench.drawn() is good
    assert good.known is not None
    assert [await bench.ended() for _ in range(3)] == [gone, broken, wrong]
    assert isinstance(gone.end, Failed)
    assert gone.end.code == "source_lost"
    assert isinstance(broken.end, TakenOut)
    assert broken.end.reason == "crashed"
    assert isinstance(wrong.end, Failed)
    assert wrong.end.code == "invalid_value"


async def test_what_is_gone_is_passed_over(bench: Bench) -> None:
    cancelled = make_run(source=Source("a" * 64))
    cancelled.close(TakenOut("cancelled"))
    bench.station.put(cancelled)
    other = bench.put()
    assert await bench.drawn() is other
    assert bench.delivered.empty()


@pytest.mark.parametrize(
    ("keep", "strength", "wanted"),
    [
        (None, None, "X..X"),
        (0.5, None, "X.XX"),
        (0.0, None, "XXXX"),
        (None, 1.0, "XXXX"),
        (1.0, None, "...."),  # as it is encoded: nothing is drawn, around it neither
        (None, 0.0, "...."),
    ],
)
def test_what_lies_around_a_picture_is_drawn_where_anything_is(
    keep: float | None, strength: float | None, wanted: str
) -> None:
    """Rows of codes of a picture twice as wide as the model's, whole."""
    source = Source("a" * 64, fit="contain", keep=keep, strength=strength)
    prepared = prepare(file_of(noise((64, 32))), None, source, (32, 32))
    known = known_for(load("tiny"), make_run(source=source).job.recipe, prepared.data)
    is_free = (known.forced.codes == FREE).reshape(4, 4)
    assert "".join("X" if row.all() else "?" if row.any() else "." for row in is_free) == wanted


def test_of_a_share_what_is_clear_in_the_picture_itself_is_kept_as_it_was() -> None:
    """Also in a file that an API of the release before has made."""
    clear = np.dstack([noise(), np.zeros((32, 32), np.uint8)])
    recipe = make_run(source=Source("a" * 64, keep=0.5)).job.recipe
    for strength in (0.5, None):
        source = Source("a", fit="contain", strength=strength)
        data = prepare(file_of(clear), None, source, (32, 32)).data
        free = (known_for(load("tiny"), recipe, data).forced.codes == FREE).flatten()
        assert free.tolist() == [False] * 8 + [True] * 8
    clear[..., 3] = AROUND  # sent by a caller, it is as clear as any
    data = prepare(file_of(clear), None, Source("a", keep=0.5), (32, 32)).data
    assert (known_for(load("tiny"), recipe, data).forced.codes == FREE).sum() == 8


@pytest.mark.parametrize("num_failures", [1, 2])
async def test_without_memory_a_picture_is_tried_twice_and_each_time_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, num_failures: int
) -> None:
    left = [torch.OutOfMemoryError("no memory") for _ in range(num_failures)]

    def scarce(pipeline: Pipeline, recipe: Recipe, data: bytes) -> Known:
        if left:
            raise left.pop()
        return known_for(pipeline, recipe, data)

    monkeypatch.setattr(station, "known_for", scarce)
    run = bench.put()
    assert await (bench.drawn() if num_failures == 1 else bench.ended()) is run
    assert isinstance(run.end, TakenOut) is (num_failures == 2)
    ooms = bench.registry.get_sample_value("mindalle_out_of_memory_total", {"model": MODEL})
    assert ooms == num_failures


async def test_a_lost_device_is_the_stations_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_device(bench.pipeline, monkeypatch)
    bench.put()
    with pytest.raises((RuntimeError, AssertionError)):
        await asyncio.wait_for(bench.working, WAIT_S)
    assert bench.drawing.empty()
