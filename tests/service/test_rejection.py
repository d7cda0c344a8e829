"""The papers' rejection sampling as a job: the best of 20 by a classifier, 5 % accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from redis.asyncio import Redis
from torchvision import models as zoo

from models.configs.rankers import ClassifierConfig
from models.drawing.sampling import RowParams
from models.pipeline import load
from models.presets.register import get_preset
from service.broker.queue import Queue
from service.doctor.checks import model
from service.jobs import JobStatus
from tests.models.random_checkpoint import write_random_checkpoint
from tests.servers import RedisServer
from tests.service.live_worker import WAIT_S, worker_settings, working
from tests.service.makers import put

_CLASSIFIER = ClassifierConfig("classifier/small.pth", "resnet18", short_side=40, size=32)
_CLASS = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-conditional model and a small classifier of its ten classes."""
    folder = tmp_path_factory.mktemp("ranked")
    write_random_checkpoint(folder, replace(get_preset("tiny-class"), classifier=_CLASSIFIER))
    (folder / "classifier").mkdir()
    torch.manual_seed(0)
    torch.save(
        zoo.resnet18(weights=None, num_classes=10).state_dict(), folder / "classifier/small.pth"
    )
    return folder


async def test_the_best_of_twenty_is_the_classifiers_choice(
    valkey_server: RedisServer, redis: Redis, queue: Queue, folder: Path
) -> None:
    worker = {"rows": 8, "id": "w1", "metrics_port": 0, "checkpoint": folder, "device": "cpu"}
    async with working(worker_settings(valkey_server, model="tiny-class", worker=worker), redis):
        job = await put(queue, prompt=_CLASS, model="tiny-class", num_candidates=20, n=1, top_k=9)
        view = await queue.wait(job.id, WAIT_S)
    assert view.status == JobStatus.SUCCEEDED
    (kept,) = view.images
    pipeline = load("tiny-class", folder)
    params = [RowParams(job.recipe.seed, number, top_k=9) for number in range(20)]
    drawn = pipeline.generate(_CLASS, params, batch=pipeline.batch(8))
    assert kept.candidate == drawn[0].candidate
    assert kept.score == pytest.approx(drawn[0].score)
    assert drawn[0].score == max(picture.score or 0 for picture in drawn)
    assert len({picture.score for picture in drawn}) == 20


def test_the_doctor_looks_at_the_classifier(valkey_server: RedisServer, folder: Path) -> None:
    worker = {"checkpoint": folder, "device": "cpu"}
    settings = worker_settings(valkey_server, model="tiny-class", worker=worker)
    weights, ranking, *_ = model(settings)
    assert (weights.verdict, ranking.found) == ("warning", "resnet18 ranks candidates")
    file = folder / _CLASSIFIER.weights
    moved = file.rename(file.with_suffix(".txt"))
    try:
        (weights, *others) = model(settings)
        assert (weights.about, weights.verdict) == ("weights", "problem")
        assert str(file) in weights.found
        assert "ranking" not in [finding.about for finding in others]
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        assert "Git LFS pointer" in model(settings)[0].found
    finally:
        moved.rename(file)
