"""The file of a view of a picture: what it says of itself, and how it is made again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from redis.asyncio import Redis

from service import cli
from service.broker.queue import Queue
from service.jobs import JobStatus
from service.worker.pictures import png
from tests.servers import RedisServer
from tests.service.live_worker import WAIT_S, worker_settings, working
from tests.service.makers import put

_MODELS = {"depth=1": "tiny-rq", "level=top": "tiny-hq"}


@pytest.mark.parametrize("view", _MODELS)
async def test_a_view_says_how_it_is_made_again(
    view: str,
    valkey_server: RedisServer,
    redis: Redis,
    queue: Queue,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = _MODELS[view]
    async with working(worker_settings(valkey_server, model=model), redis):
        job = await put(queue, model=model, num_candidates=2, size="48x40")
        assert (await queue.wait(job.id, WAIT_S)).status == JobStatus.SUCCEEDED
    path = tmp_path / "view.png"
    path.write_bytes(await queue.image(job.id, 0, view))
    record = png.read(path)
    assert (record.view, record.size) == (view, "48x40")
    assert b'"view"' not in await queue.image(job.id, 0)
    assert await asyncio.to_thread(cli.main, ["replay", str(path)]) == 0
    assert "the same bytes" in capsys.readouterr().out
    with Pillow.open(path) as image:
        path.write_bytes(png.encode(np.asarray(image), "png", replace(record, view="depth=99")))
    assert await asyncio.to_thread(cli.main, ["replay", str(path)]) == 2
    assert "it shows depth=99 of a picture" in capsys.readouterr().err
