"""A job that is larger than a worker's rows: several workers share it, and one of them may die."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from service.answers.job_answer import JobAnswer
from service.client import Client
from tests.e2e.stack import Stack, Worker, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ROWS, NUM_CODES = 32, 16  # of a worker; of a candidate of `tiny`
BUSY = 'mindalle_rows_busy{model="tiny"}'
CODES = 'mindalle_codes_total{model="tiny"}'
SUCCEEDED = 'mindalle_jobs_total{model="tiny",outcome="succeeded"}'
SETTINGS = {
    "MINDALLE_WORKER__ROWS": str(ROWS),
    "MINDALLE_QUEUE__LEASE_S": "6",
    "MINDALLE_QUEUE__SWEEP_INTERVAL_S": "0.2",
    "MINDALLE_TESTING__STEP_DELAY_S": "0.15",
}


def submit(client: Client) -> JobAnswer:
    return client.submit("a red heart", seed=7, num_candidates=3 * ROWS, n=3, partial_images=1)


def pictures(client: Client, job: JobAnswer, num_starts: int = 1) -> list[bytes]:
    """Of a job that must end well, and once, with one partial picture on the way.

    It starts again, and shows one again, where the first candidate's part was lost.
    """
    names = [event.name for event in client.follow(job.id)]
    assert names[-1] == "succeeded"
    assert names.count("succeeded") == 1
    for name in ("started", "partial_image"):
        assert 1 <= names.count(name) <= num_starts
    return [client.image(job.id, rank) for rank in range(3)]


def codes_of(workers: list[Worker]) -> list[float]:
    return [worker.metric(CODES) for worker in workers]


def all_draw(stack: Stack) -> bool:
    return all(worker.metric(BUSY) == ROWS for worker in stack.workers)


def test_three_workers_share_a_job_and_a_dead_one_costs_its_part(tmp_path: Path) -> None:
    with serving(tmp_path, num_workers=3, settings=SETTINGS) as stack, Client(stack.url) as client:
        before = codes_of(stack.workers)
        shared = pictures(client, submit(client))
        drawn = [now - then for now, then in zip(codes_of(stack.workers), before, strict=True)]
        assert drawn == [ROWS * NUM_CODES] * 3
        stack.until(lambda: sum(worker.metric(SUCCEEDED) for worker in stack.workers) == 1)

        job = submit(client)
        stack.until(lambda: all_draw(stack))
        stack.workers[2].end(signal.SIGKILL)
        survivors = stack.workers[:2]
        assert pictures(client, job, num_starts=2) == shared
        assert client.job(job.id).attempts == 2
        drawn = [now - then for now, then in zip(codes_of(survivors), before, strict=False)]
        assert sum(drawn) == 5 * ROWS * NUM_CODES  # two parts, two more, and that of the dead one

        assert stack.workers[1].end(signal.SIGTERM) == 0
        assert pictures(client, submit(client)) == shared
