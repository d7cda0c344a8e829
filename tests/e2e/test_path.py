"""From a prompt to a picture through all processes: batching, repeatability, streams, jobs."""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow

from service.client import Client, Partial
from service.jobs import Image
from tests.e2e.stack import Stack, Worker
from tests.stores import S3Server

# The time limit is for machines that are busy with other work: a worker starts in the set-up.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PATH = "/v1/images/generations"
NUM_PROMPTS = 32
STEPS = 'mindalle_batch_jobs_count{model="tiny"}'
STEPS_OF_ONE_JOB = 'mindalle_batch_jobs_bucket{le="1.0",model="tiny"}'
JOINS = 'mindalle_batch_joins_total{model="tiny"}'


def _picture(stack: Stack, prompt: str, **body: Any) -> bytes:
    answer = stack.http.post(PATH, json={"prompt": prompt, **body}, headers={"accept": "image/png"})
    assert answer.status_code == 200, answer.text
    return answer.content


def _shared_steps(worker: Worker) -> float:
    """Steps so far in which rows of more than one job moved on."""
    return worker.metric(STEPS) - worker.metric(STEPS_OF_ONE_JOB)


def test_a_prompt_becomes_a_picture(any_stack: Stack) -> None:
    body = {"prompt": "a red cube", "seed": 3}
    answer = any_stack.http.post(PATH, json=body, headers={"accept": "image/png"})
    picture = Pillow.open(io.BytesIO(answer.content))
    picture.load()
    assert (picture.format, picture.size) == ("PNG", (32, 32))
    assert answer.headers["x-mindalle-seed"] == "3"
    assert len(set(picture.convert("RGB").tobytes())) > 8  # not one plain colour


def test_many_prompts_at_once_share_steps_and_change_nothing(stack: Stack) -> None:
    """Each picture is the same alone and among 31 others."""
    prompts = [f"picture number {number}" for number in range(NUM_PROMPTS)]
    (worker,) = stack.workers
    before = _shared_steps(worker)
    alone = [_picture(stack, prompt, seed=seed) for seed, prompt in enumerate(prompts)]
    assert _shared_steps(worker) == before
    joins = worker.metric(JOINS)
    with ThreadPoolExecutor(NUM_PROMPTS) as pool:
        drawing = [
            pool.submit(_picture, stack, prompt, seed=seed) for seed, prompt in enumerate(prompts)
        ]
        together = [future.result() for future in drawing]
    assert together == alone
    assert _shared_steps(worker) > before
    assert worker.metric(JOINS) > joins


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_every_format_is_what_it_says(stack: Stack, name: str) -> None:
    answer = stack.http.post(
        PATH, json={"prompt": "a red cube"}, headers={"accept": f"image/{name}"}
    )
    assert answer.headers["content-type"] == f"image/{name}"
    assert Pillow.open(io.BytesIO(answer.content)).format == name.upper()


def test_of_many_candidates_that_nothing_ranks_the_first_are_returned(any_stack: Stack) -> None:
    body = {"prompt": "a red cube", "n": 3, "num_candidates": 40, "response_format": "b64_json"}
    answer = any_stack.http.post(PATH, json=body).json()
    assert [image["score"] for image in answer["data"]] == [None] * 3
    assert [image["candidate"] for image in answer["data"]] == [0, 1, 2]
    assert len({image["b64_json"] for image in answer["data"]}) == 3
    assert answer["usage"]["output_tokens"] == 40 * 16


def test_the_client_streams_growing_pictures(any_stack: Stack) -> None:
    with Client(any_stack.url) as client:
        *partial, image = client.stream("a red cube", partial_images=3, seed=5)
        assert all(isinstance(picture, Partial) for picture in partial)
        assert [picture.index for picture in partial if isinstance(picture, Partial)] == [0, 1, 2]
        assert isinstance(image, Image)
        assert client.generate("a red cube", seed=5).images[0].data == image.data


def test_a_job_goes_all_the_way(any_stack: Stack) -> None:
    with Client(any_stack.url) as client:
        job = client.submit("a red cube", n=2, num_candidates=4, seed=6)
        ended = client.wait(job.id)
        assert ended.status == "succeeded"
        assert ended.progress.codes_done == ended.progress.codes_total == 4 * 16
        files = [client.image(job.id, rank) for rank in range(2)]
    body = {"prompt": "a red cube", "n": 2, "num_candidates": 4, "seed": 6}
    again = any_stack.http.post(PATH, json=body | {"response_format": "b64_json"}).json()
    assert [base64.b64decode(image["b64_json"]) for image in again["data"]] == files


def test_a_bucket_hands_out_its_pictures_itself(s3_stack: Stack, s3_server: S3Server) -> None:
    with Client(s3_stack.url) as client:
        job = client.submit("a red cube", n=2, num_candidates=4, seed=6)
        client.wait(job.id)
        files = [client.image(job.id, rank) for rank in range(2)]
    images = s3_stack.http.get(f"/v1/jobs/{job.id}").json()["images"]
    assert all(image["url"].startswith(s3_server.url) for image in images)
    assert [httpx.get(image["url"], trust_env=False).content for image in images] == files


def test_a_long_prompt_is_cut_and_the_answer_says_so(stack: Stack) -> None:
    short = stack.http.post(PATH, json={"prompt": "a cat"}).json()
    assert short["prompt_truncated"] is False
    answer = stack.http.post(PATH, json={"prompt": "a very long story " * 3000})
    assert answer.status_code == 200
    assert answer.json()["prompt_truncated"] is True


def test_sampling_at_its_limits_draws_pictures(stack: Stack) -> None:
    for body in (
        {"temperature": 0.01},
        {"temperature": 100},
        {"top_k": 1},
        {"top_k": 64},
        {"top_p": 1e-6},
        {"top_p": 1.0, "top_k": 1, "temperature": 0.5},
    ):
        assert _picture(stack, "a red cube", **body)
