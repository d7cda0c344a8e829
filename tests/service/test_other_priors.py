"""A worker serves families that it was not written for; two of them exist in tests only."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow
from redis.asyncio import Redis

from models.configs.prior import Prompt
from models.drawing.sampling import RowParams
from models.pipeline import to_bytes
from service.broker.queue import Queue
from service.jobs import JobStatus
from tests.models.priors import OTHERS, load_any, registered
from tests.servers import RedisServer
from tests.service.live_worker import WAIT_S, worker_settings, working
from tests.service.makers import put

_ROWS = 8
_PROMPTS: dict[str, Prompt] = {"text": "a heart", "class": 3, "none": None}
_WRONG: dict[str, str | None] = {"text": None, "class": None, "none": "a heart"}
_FAMILIES = (
    *(*OTHERS, "tiny-rq-class", "tiny-hq", "tiny-hq-class", "tiny-hq-uncond", "tiny-hq-scales"),
    *("tiny-taming-class", "tiny-taming-uncond", "tiny-dalle"),
    *("tiny-pixelcnn", "tiny-gated-pixelcnn", "tiny-pixelcnn++", "tiny-pixelcnn++-gray"),
    *("tiny-image-transformer", "tiny-image-transformer-2d"),
)


@pytest.mark.parametrize("name", _FAMILIES)
async def test_a_job_of_another_family_becomes_its_pictures(
    valkey_server: RedisServer, redis: Redis, queue: Queue, name: str
) -> None:
    pipeline = load_any(name)
    prompt = _PROMPTS[pipeline.preset.prompt_kind]
    asked = {"model": name, "num_candidates": 11, "n": 11, "top_k": 4}
    with registered():
        async with working(worker_settings(valkey_server, model=name), redis):
            job = await put(queue, prompt=prompt, partial_images=2, **asked)
            refused = await put(queue, prompt=_WRONG[pipeline.preset.prompt_kind], **asked)
            view = await queue.wait(job.id, WAIT_S)
            assert (view.status, view.size) == (
                JobStatus.SUCCEEDED,
                "{}x{}".format(*pipeline.preset.size),
            )
            assert (await queue.wait(refused.id, WAIT_S)).status == JobStatus.FAILED
            found = [await queue.image(job.id, meta.rank) for meta in view.images]
            partial = [e.image async for e in queue.events(job.id) if e.name == "partial_image"]
    assert len(partial) == 2
    params = [RowParams(job.recipe.seed, candidate, top_k=4) for candidate in range(11)]
    drawn = pipeline.generate(prompt, params, batch=pipeline.batch(_ROWS))
    for meta, data, picture in zip(view.images, found, drawn, strict=True):
        assert meta.candidate == picture.candidate
        with Pillow.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), to_bytes(picture.pixels[None])[0])
