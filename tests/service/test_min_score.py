"""Drawing on until enough candidates are good enough: the shipped model and its CLIP, really."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis

from models.drawing.sampling import RowParams
from models.pipeline import load
from models.presets.register import PRESETS
from service.broker.queue import Queue
from service.jobs import JobStatus
from tests.servers import RedisServer
from tests.service.live_api import api_settings, serving
from tests.service.live_worker import WAIT_S, until, worker_settings, working
from tests.service.makers import put

_MODEL, _PROMPT, _SEED = "emoji", "a red heart", 4
_LIMIT, _FIRST, _ROWS = 12, 8, 8


@pytest.fixture
async def http(valkey_server: RedisServer, redis: Redis) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        working(worker_settings(valkey_server, model=_MODEL), redis),
        serving(api_settings(valkey_server, model=_MODEL)) as api,
        api.client() as client,
    ):
        yield client


def _scores() -> list[float]:
    """Of all candidates, by their numbers."""
    pipeline = load(_MODEL)
    defaults = PRESETS[_MODEL].sampling
    params = [
        RowParams(_SEED, number, defaults.temperature, defaults.top_k, defaults.top_p)
        for number in range(_LIMIT)
    ]
    pictures = pipeline.generate(_PROMPT, params, batch=pipeline.batch(_ROWS))
    return [p.score or 0.0 for p in sorted(pictures, key=lambda picture: picture.candidate)]


@pytest.mark.timeout(120)
async def test_drawing_ends_with_the_first_candidates_that_suffice(
    http: httpx.AsyncClient,
) -> None:
    scores = await asyncio.to_thread(_scores)
    least = max(scores[:_FIRST])  # so that one of the first ones has it, and no more
    body = {"prompt": _PROMPT, "seed": _SEED, "n": 2, "num_candidates": _LIMIT}
    ends = [*range(_FIRST, _LIMIT, _FIRST), _LIMIT]
    enough = [end for end in ends if sum(s >= least - 1e-4 for s in scores[:end]) >= 2]
    num_drawn = enough[0] if enough else _LIMIT
    best = sorted(range(num_drawn), key=lambda c: -scores[c])[:2]
    answers = [
        (await http.post("/v1/images/generations", json=body | {"accept": accept})).json()
        for accept in ({"min_score": least - 1e-4}, {"min_score": 2}, None)
    ]
    assert num_drawn > _FIRST
    assert [answer["num_drawn"] for answer in answers] == [num_drawn, _LIMIT, _LIMIT]
    assert [answer["num_candidates"] for answer in answers] == [_LIMIT] * 3
    assert [image["candidate"] for image in answers[0]["data"]] == best
    assert answers[0]["usage"]["output_tokens"] == num_drawn * 64
    files = [(await http.get(image["url"])).content for image in answers[1]["data"]]
    assert files == [(await http.get(image["url"])).content for image in answers[2]["data"]]
    picture = await http.post(
        "/v1/images/generations",
        json=body | {"accept": {"min_score": -1}},
        headers={"accept": "image/png"},
    )
    assert picture.headers["x-mindalle-num-drawn"] == str(_FIRST)
    job = (await http.get(f"/v1/jobs/{answers[0]['job_id']}")).json()
    assert (job["accept"], job["num_drawn"]) == ({"min_score": least - 1e-4}, num_drawn)
    assert job["progress"]["codes_done"] == job["progress"]["codes_total"] == num_drawn * 64


async def test_a_job_that_draws_on_can_be_called_off(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    settings = worker_settings(valkey_server, testing={"step_delay_s": 0.05})
    async with working(settings, redis) as live:
        job = await put(queue, num_candidates=96, min_score=2.0)  # `tiny` gives no scores at all
        while (await queue.get(job.id)).progress.codes_done <= _FIRST * 16:
            await asyncio.sleep(0.05)
        assert (await queue.cancel(job.id)).view.status == JobStatus.CANCELLED
        await until(lambda: live.metric("mindalle_rows_busy") == 0)
        other = await put(queue, num_candidates=8)
        assert (await queue.wait(other.id, WAIT_S)).status == JobStatus.SUCCEEDED
        await until(lambda: live.metric("mindalle_finishing_candidates") == 0)


async def test_a_batch_that_is_lost_takes_no_candidate_of_a_later_round_along(
    valkey_server: RedisServer, redis: Redis, queue: Queue
) -> None:
    images = []
    for testing in ({}, {"oom_above_rows": 3}):
        async with working(worker_settings(valkey_server, testing=testing), redis):
            job = await put(queue, num_candidates=20, n=2, min_score=2.0)
            view = await queue.wait(job.id, WAIT_S)
            assert (view.status, view.num_drawn) == (JobStatus.SUCCEEDED, 20)
            images.append([await queue.image(job.id, rank) for rank in (0, 1)])
    assert images[0] == images[1]
