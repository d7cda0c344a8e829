"""A full queue: callers hear so at once, while jobs that were taken before go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from service.client import Client
from tests.e2e.stack import Stack, serving

# The time limit is for machines that are busy with other work: a worker starts in the set-up.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PATH = "/v1/images/generations"
BUSY = 'mindalle_rows_busy{model="tiny"}'
NUM_CALLERS = 16


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker of four rows that draws for some 16 s; one job may wait meanwhile."""
    settings = {
        "MINDALLE_QUEUE__MAX_DEPTH": "1",
        "MINDALLE_WORKER__ROWS": "4",
        "MINDALLE_TESTING__STEP_DELAY_S": "1",
    }
    folder = tmp_path_factory.mktemp("full")
    with serving(folder, settings=settings) as running:
        yield running


def test_a_full_queue_is_answered_long_before_a_place_is_free(stack: Stack) -> None:
    (worker,) = stack.workers

    def ask(number: int) -> httpx.Response:
        return stack.http.post(PATH, json={"prompt": "one more", "stream": number % 2 == 0})

    with Client(stack.url) as client:
        runs = client.submit("runs", num_candidates=4)
        stack.until(lambda: worker.metric(BUSY) == 4)
        waits = client.submit("waits", num_candidates=4)
        began = time.monotonic()
        with ThreadPoolExecutor(NUM_CALLERS) as callers:
            answers = list(callers.map(ask, range(NUM_CALLERS)))
        assert time.monotonic() - began < 8  # half of the job that runs
        assert client.job(runs.id).status == "running"
        assert client.job(waits.id).status == "queued"
        for job in (waits, runs):
            client.cancel(job.id)

    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
    rejected = 'mindalle_jobs_rejected_total{model="tiny",reason="queue_full"}'
    assert stack.metric(rejected) == NUM_CALLERS
