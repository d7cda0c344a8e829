"""ru-DALL-E's own files, served by a real worker: Malevich's structure, but narrow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from redis.asyncio import Redis

from models.drawing.sampling import RowParams
from models.pipeline import load, to_bytes
from service.broker.queue import Queue
from service.jobs import JobStatus
from tests.models.random_rudalle_checkpoint import small_malevich, write_random_rudalle
from tests.servers import RedisServer
from tests.service.live_worker import worker_settings, working
from tests.service.makers import put

_ROWS = 2
_WAIT_S = 120.0  # on a busy machine
_MODEL = "rudalle-malevich"


@pytest.mark.parametrize("layers", [4, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.timeout(240)
async def test_1024_steps_stream_previews_and_end_in_ranked_pictures(
    valkey_server: RedisServer, redis: Redis, queue: Queue, tmp_path: Path, layers: int
) -> None:
    write_random_rudalle(tmp_path, small_malevich(layers))
    worker = {"rows": _ROWS, "id": "w1", "metrics_port": 0, "checkpoint": tmp_path}
    settings = worker_settings(valkey_server, model=_MODEL, worker=worker)
    async with working(settings, redis):
        asked = {"model": _MODEL, "num_candidates": 2, "n": 2, "top_k": 16}
        job = await put(queue, prompt="красное сердце", partial_images=3, **asked)
        view = await queue.wait(job.id, _WAIT_S)
        assert (view.status, view.size) == (JobStatus.SUCCEEDED, "256x256")
        found = [await queue.image(job.id, meta.rank) for meta in view.images]
        partial = [e.image async for e in queue.events(job.id) if e.name == "partial_image"]
    assert len({bytes(image or b"") for image in partial}) == 3
    pipeline = load("", tmp_path)
    rows = [RowParams(job.recipe.seed, candidate, top_k=16) for candidate in range(2)]
    drawn = pipeline.generate("красное сердце", rows, batch=pipeline.batch(_ROWS))
    for meta, data, picture in zip(view.images, found, drawn, strict=True):
        assert (meta.candidate, meta.score) == (picture.candidate, picture.score)
        with Pillow.open(io.BytesIO(data)) as image:
            wanted = to_bytes(picture.pixels[None])[0].astype(int)
            assert np.abs(np.asarray(image) - wanted).max() <= 1  # by other threads
